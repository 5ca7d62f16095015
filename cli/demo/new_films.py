"""Films that nobody had rated when training ended: placed by title and genres, and found in feeds before anybody does.

Of the 66 that MovieLens' last users were the first to rate, The Big Lebowski is one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec import UNSET

from rankstream.cli.demo.traffic import POSITIVE, Step
from rankstream.content.item_files import ItemOptions, read_items
from rankstream.events.log import EventLog
from rankstream.features.ids import Id
from rankstream.models.recipes.run_folder import load_models
from rankstream.models.recipes.train import publish_item_vectors
from rankstream.ranking.request import RankingRequest
from rankstream.retrieval.sources.described import SOURCE
from rankstream.streams.clients.producer import Producer
from rankstream.streams.clients.readers import FeedReader

FEEDS, LIMIT = 10, 20  # that are asked for, each of so many films
PATIENCE_S = 10.0
KEPT_VERSIONS = 2


@dataclass(frozen=True)
class NewFilms:
    """The films that training did not see."""

    titles: dict[Id, str]  # of all films
    count: int  # of those that nobody had rated


def publish_new_films(items: Path | None, work: Path, root: Path, past: EventLog) -> NewFilms | None:
    """Publish item vectors with those of new films beside them; None where nothing says what films are."""
    if items is None:
        return None
    until_ms = int(past.times_ms[-1])
    catalogue = read_items(items, ItemOptions(), until_ms).catalogue
    known = type(catalogue)(msgspec.structs.replace(catalogue.header, as_of_ms=until_ms), catalogue.columns)
    done = publish_item_vectors(load_models(work), past, root, until_ms, KEPT_VERSIONS, catalogue=known)
    rows = range(len(known))
    return NewFilms(
        {item: title or "" for item, title in zip(known.ids(rows), known.titles(rows), strict=True)}, done.described
    )


def ask(producer: Producer, reader: FeedReader, films: NewFilms, steps: Sequence[Step]) -> str:
    """Ask for feeds without candidates for the users who liked something last, and say what new films they hold."""
    liked = {step.user_id: step for step in steps if step.action in POSITIVE}
    asked: dict[Id, Step] = {f"new-{step.user_id}": step for step in list(liked.values())[-FEEDS:]}
    for name, step in asked.items():
        producer.send_request(RankingRequest(name, step.user_id, limit=LIMIT, timestamp_ms=step.timestamp_ms + 1))
    producer.flush()
    feeds = list(reader.answers(list(asked), PATIENCE_S))
    found = {
        feed.request_id: [item.item_id for item in feed.items if item.source == SOURCE]
        for feed in feeds
        if feed.items is not UNSET
    }
    holding = {name: new for name, new in found.items() if new}
    told = f"{films.count} films that nobody had rated when training ended are found by title and genre: "
    told += f"{len(holding)} of {len(asked)} feeds of {LIMIT} films hold some"
    if not holding:
        return told + "."
    name, new = next(iter(holding.items()))
    last = films.titles.get(asked[name].item_id, "")
    return f"{told}. Who liked {last} last has {' and '.join(films.titles.get(item, '') for item in new)}."
