"""`rankstream deploy`: verify, try, shadow, swap, watch, and swap back where it goes wrong."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic
from uuid import uuid4

import click
from msgspec import UNSET, UnsetType

from rankstream.cli.errors import Refusal, refusing
from rankstream.cli.options.settings import CONNECTED, settings_options
from rankstream.cli.shadow_period import ShadowPeriod, refuse_another, shadow_told
from rankstream.cli.views.as_json import json_option, print_json
from rankstream.features.actions import VocabularyRefusedError
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.files import CURRENT, PointerError, current_name
from rankstream.ranking.bundle import Bundle, BundleRefusedError, check_bundle_name, open_bundle, use_bundle
from rankstream.ranking.deployment import Deployment, DeploymentError, Stage, write_deployment
from rankstream.ranking.experiment import CONTROL, TREATMENT
from rankstream.ranking.serving import longer_vocabulary, ranker_of
from rankstream.ranking.shadow.report import Figures
from rankstream.ranking.trial import Trial, trial
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.clients.readers import FeedReader
from rankstream.streams.codec import RankedFeed
from rankstream.streams.pipeline import wall_clock_ms
from rankstream.streams.settings import Settings
from rankstream.streams.worker.admission import AWAY
from rankstream.streams.worker.changelog import logged_names
from rankstream.streams.worker.vocabulary_guard import Names

BUGS = ("internal", "no-score")  # reasons of error feeds that are the model's fault


@dataclass
class Watched:
    """The feeds that came after the swap; in an experiment those of the variant whose bundle was swapped."""

    feeds: int = 0
    by_new: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def see(self, feed: RankedFeed, version: str, variant: str = CONTROL) -> None:
        """Count one, unless it is of another variant."""
        if feed.variant not in (UNSET, variant):
            return
        self.feeds += 1
        if not isinstance(feed.error, UnsetType):
            self.errors[feed.error.reason] += 1
        elif feed.model_version == version:
            self.by_new += 1

    @property
    def wrong(self) -> str | None:
        """What speaks against the new bundle."""
        bugs = sum(self.errors[reason] for reason in BUGS)
        if bugs > self.by_new / 100:
            return f"{bugs} of {self.feeds} answers were errors ({', '.join(sorted(set(BUGS) & set(self.errors)))})"
        if self.feeds > sum(self.errors.values()) and not self.by_new:
            return f"none of {self.feeds} answers was by it: the workers' logs say why they refuse it"
        return None


@click.command()
@click.argument("bundles", type=click.Path(path_type=Path))
@click.argument("name")
@click.option(
    "--slower", type=click.FloatRange(min=0), default=2.0, show_default=True,
    help="How many times as long as the bundle that serves it may take for a request.",
)  # fmt: skip
@click.option("--requests", type=click.IntRange(min=10), default=100, show_default=True, help="To try it with.")
@click.option(
    "--watch-s", type=click.FloatRange(min=0), default=20.0, show_default=True,
    help="Seconds to look at feeds after the swap; 0 looks at none, and needs no broker.",
)  # fmt: skip
@click.option(
    "--shadow-minutes", type=click.FloatRange(min=0), default=0.0, show_default=True,
    help="How long both bundles rank the same live requests before the swap, while the one before answers.",
)  # fmt: skip
@click.option(
    "--shadow-share", type=click.FloatRange(min=0, max=1, min_open=True), default=0.1, show_default=True,
    help="Share of the requests that both rank.",
)  # fmt: skip
@click.option(
    "--min-overlap", type=click.FloatRange(min=0, max=1), default=0.1, show_default=True,
    help="Share of the 10 best items that must be as before, on average over the requests of the shadow.",
)  # fmt: skip
@click.option(
    "--treatment", is_flag=True,
    help="BUNDLES is what workers have as --variant, not as --bundle: look at feeds of that variant's users.",
)  # fmt: skip
@json_option
@settings_options(*CONNECTED, also=["app_id", "trusted_keys"])
@refusing(BundleRefusedError, ClientError, DeploymentError)
def command(
    bundles: Path,
    name: str,
    slower: float,
    requests: int,
    watch_s: float,
    shadow_minutes: float,
    shadow_share: float,
    min_overlap: float,
    treatment: bool,
    as_json: bool,
    settings: Settings,
) -> None:
    """Make another bundle serve, watch the feeds, and swap back where it goes wrong.

    NAME is a bundle in the folder BUNDLES, whose current one workers serve. It is verified as a worker would, tried
    beside the bundle that serves (the same requests through both: how long each takes, how many of the ten best
    items stay), and made current. With --shadow-minutes the workers first rank a share of their live requests by both,
    beside the answering: it is refused where it fails, takes too long, or orders all else. Then feeds are watched:
    where they are errors of the model, or none is by it, the one before is current again, and the command ends with 2
    and the reason. In an experiment the feeds and requests are those of the users of the bundle that is swapped: of the
    control, or of the variant with --treatment.

    \b
    Reads:  BUNDLES; ranked-feeds, while it watches; workers' BUNDLES/.shadow
    Writes: BUNDLES/CURRENT, BUNDLES/DEPLOYMENT

    \b
    Examples:
      rankstream deploy bundles 2026-07-01
      rankstream deploy bundles 2026-07-01 --shadow-minutes 10 --shadow-share 0.05
      rankstream deploy bundles 2026-07-01 --slower 1.2 --watch-s 120
      rankstream deploy candidates 2026-07-01 --treatment --shadow-minutes 30
    """
    check_bundle_name(bundles, name)
    refuse_another(bundles)
    new, before = open_bundle(bundles / name, trusted_keys=settings.trusted_keys), _serving(bundles, settings)
    begun = Deployment(
        uuid4().hex, name, None if before is None else before.folder.name, "shadow", wall_clock_ms(), share=shadow_share
    )
    tried = figures = None
    with _refusal_written(bundles, begun):
        if watch_s or shadow_minutes:
            _check_logged_names(new, settings)
        if before is not None:
            tried = _tried(new, before, requests, slower)
        if shadow_minutes and before is not None:
            figures = ShadowPeriod(bundles, begun, settings, shadow_minutes).run(slower, min_overlap)
        elif shadow_minutes:
            click.echo("note: nothing serves yet, so there is nothing to be in the shadow of", err=True)
    look = partial(_watched, version=new.manifest.model_version, variant=TREATMENT if treatment else CONTROL)
    watched = _swapped(bundles, begun, look, watch_s, settings)
    if watched.wrong and before is not None:
        use_bundle(bundles, before.folder.name)
        _write(bundles, begun, "rolled-back", watched.wrong)
        raise Refusal(f"{bundles} serves {before.folder.name} again, not {name}: {watched.wrong}")
    if as_json:
        found = None if tried is None else asdict(tried)
        print_json({"bundles": bundles, "current": name, "model_version": new.manifest.model_version, "trial": found,
                    "shadow": None if figures is None else asdict(figures), "watched": asdict(watched)})  # fmt: skip
        return
    _tell(bundles, name, new.manifest.model_version, tried, figures)
    if watch_s:
        click.echo(_told(watched, watch_s))


def _write(bundles: Path, begun: Deployment, stage: Stage, reason: str = "") -> None:
    write_deployment(bundles, Deployment(begun.id, begun.bundle, begun.before, stage, wall_clock_ms(), reason))


@contextmanager
def _refusal_written(bundles: Path, begun: Deployment) -> Iterator[None]:
    """Write down why a bundle does not serve, whatever the reason, so that workers end its shadow and show that."""
    try:
        yield
    except BaseException as exc:
        why = "the command was interrupted" if isinstance(exc, KeyboardInterrupt) else str(exc)
        with suppress(OSError):  # what was refused matters more
            _write(bundles, begun, "refused", why)
        raise


def _swapped(
    bundles: Path, begun: Deployment, look: Callable[[FeedReader, float], Watched], watch_s: float, settings: Settings
) -> Watched:
    """Make it current, and look at the feeds that come then."""
    if not watch_s:
        use_bundle(bundles, begun.bundle)
        _write(bundles, begun, "serves")
        return Watched()
    with FeedReader(settings) as reader:
        use_bundle(bundles, begun.bundle)
        _write(bundles, begun, "serves")
        return look(reader, watch_s)


def _tell(bundles: Path, name: str, version: str, tried: Trial | None, figures: Figures | None) -> None:
    click.echo(f"{bundles} serves {name} now, model {version}")
    if tried is not None:
        click.echo(
            f"  a request takes {tried.median_ms:.1f} ms (before {tried.serving_ms:.1f}); of its 10 best items "
            f"{tried.in_common:.1f} are as before"
        )
    if figures is not None:
        click.echo(shadow_told(figures))


def _serving(bundles: Path, settings: Settings) -> Bundle | None:
    """Return what serves now; None where nothing does."""
    try:
        return open_bundle(bundles / current_name(bundles), trusted_keys=settings.trusted_keys)
    except OSError:
        return None
    except PointerError as exc:
        raise BundleRefusedError(f"{exc}; name one with `rankstream bundle use`") from exc
    except BundleRefusedError as exc:
        click.echo(f"note: what {bundles / CURRENT} names does not serve ({exc}), so nothing is compared", err=True)
        return None


def _tried(new: Bundle, before: Bundle, requests: int, slower: float) -> Trial:
    """Refuse what changes the meaning of codes or takes too long."""
    longer_vocabulary(before.manifest.vocabulary, new.manifest.vocabulary)
    new_ranker, old_ranker = (ranker_of(one, NoVectors(one.manifest.sizes.user_dim)) for one in (new, before))
    try:
        found = trial(new_ranker, old_ranker, new, requests)
    except Exception as exc:  # of either bundle; ONNX Runtime's have no common type
        raise Refusal(
            f"{new.folder} and {before.folder.name}, which goes on, can't both rank made-up requests of its items: "
            f"{exc}"
        ) from exc
    if found.ratio > slower:
        raise Refusal(
            f"{new.folder} takes {found.median_ms:.1f} ms for a request, {found.ratio:.1f} times as long as "
            f"{before.folder.name}, which goes on; --slower {found.ratio:.1f} would let it serve"
        )
    return found


def _check_logged_names(new: Bundle, settings: Settings) -> None:
    """Refuse what gives codes in the changelog's states other names: also of a bundle that served before the last."""
    try:
        logged = asyncio.run(logged_names(settings))
    except AWAY as exc:
        click.echo(f"note: the names in the changelog are left to the workers to compare, as {exc}", err=True)
        return
    becomes = Names.of(new.manifest.vocabulary)
    for number, names in logged.items():
        try:
            names.longer(becomes, _other_names(new.folder, number))
        except VocabularyRefusedError as exc:
            raise Refusal(str(exc)) from exc


def _other_names(folder: Path, number: int) -> Callable[[str, str, str], str]:
    return lambda what, was, becomes: (
        f"{folder} has the {what} {becomes}, but the users of partition {number} in the changelog were written with "
        f"{was}; train with these names in this order, new ones behind them"
    )


def _watched(reader: FeedReader, seconds: float, version: str, variant: str) -> Watched:
    """Look at feeds until the time is over."""
    watched, end = Watched(), monotonic() + seconds
    while monotonic() < end:
        for feed in reader.feeds(timeout_s=min(0.5, max(0.0, end - monotonic()))):
            watched.see(feed, version, variant)
    return watched


def _told(watched: Watched, seconds: float) -> str:
    if not watched.feeds:
        return f"  no feed came within {seconds:g} s: whether workers serve it, their logs say"
    errors = f", {sum(watched.errors.values())} errors ({', '.join(watched.errors)})" if watched.errors else ""
    return f"  {watched.by_new} of the {watched.feeds} feeds of the next {seconds:g} s were by it{errors}"
