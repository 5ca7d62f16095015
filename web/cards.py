"""What the page shows of an item: title, category, and where its picture is; texts alone, the page makes no HTML."""

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Meta, Struct

from rankstream.content.catalogue import Catalogue
from rankstream.content.items import Item
from rankstream.events.action_event import WireId, decoded
from rankstream.features.ids import Id, id_keys
from rankstream.ranking.retrieval_mix import CurrentCatalogue

MAX_CARDS = 200
MAX_CARDS_BYTES = 64 << 10
PLACEHOLDER = "{id}"


class BadImagesError(ValueError):
    """A template of pictures that can't be one; the message says what is wanted."""


class Card(Struct, frozen=True):
    """An item as the page draws it."""

    item_id: Id
    title: str | None  # None: nothing is known of it, and the page shows its id
    category: tuple[str, ...]  # the widest first
    picture: str | None  # an address; None: the page draws a cover


class AskedCards(Struct, frozen=True):
    """The items that a page wants to show."""

    ids: Annotated[tuple[WireId, ...], Meta(max_length=MAX_CARDS)]


_decode_asked = msgspec.json.Decoder(AskedCards).decode


def read_cards(body: bytes) -> AskedCards:
    """Return the items of a body. Raises ``Rejected``."""
    return decoded(body, _decode_asked, MAX_CARDS_BYTES, "a list of items")


@dataclass(frozen=True)
class Cards:
    """Cards of a catalogue's items, with pictures of a template or of the catalogue."""

    catalogues: CurrentCatalogue | None = None  # None: there are ids alone
    images: str | None = None  # https://host/{id}.jpg

    def __post_init__(self) -> None:
        if self.images is not None and not _is_template(self.images):
            raise BadImagesError(
                f"--images {self.images} is no template of addresses; wanted one as https://host/{PLACEHOLDER}.jpg"
            )

    def of(self, ids: tuple[Id, ...]) -> list[Card]:
        """Return the cards of items, in order; of an unknown one the id alone."""
        catalogue = None if self.catalogues is None else self.catalogues.snapshot()
        known = {} if catalogue is None else _known(catalogue, ids)
        return [self._card(item_id, known.get(str(item_id))) for item_id in ids]

    def _card(self, item_id: Id, item: Item | None) -> Card:
        picture = None if self.images is None else self.images.replace(PLACEHOLDER, quote(str(item_id), safe=""))
        if item is None:
            return Card(item_id, None, (), picture)
        if picture is None and item.picture is not None and _is_address(item.picture):
            picture = item.picture
        return Card(item_id, item.title, item.category or (), picture)

    @property
    def sources(self) -> str:
        """Return where a page may load pictures from, as its security policy names it."""
        if self.images is None:
            return "'self'" if self.catalogues is None else "'self' http: https:"
        parts = urlsplit(self.images)
        return f"'self' {parts.scheme}://{parts.netloc}"


def _known(catalogue: Catalogue, ids: tuple[Id, ...]) -> dict[str, Item]:
    rows, found = catalogue.look_up(id_keys(ids))
    items = catalogue.items(rows[found])
    return dict(zip((str(one) for one, there in zip(ids, found, strict=True) if there), items, strict=True))


def _is_template(text: str) -> bool:
    return _is_address(text) and PLACEHOLDER in text and PLACEHOLDER not in urlsplit(text).netloc


def _is_address(text: str) -> bool:
    """Return whether a text is an address that a browser may load a picture from."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and not set(text) & set(" ;,'\"\n\r\t")
    except ValueError:
        return False
