"""Which column holds which field of an item, where a file does not call them as the wire does.

A name is compared without its case, and without ``_``, ``-``, ``.`` and spaces. Nothing is guessed for a field that two
columns fit.
"""

from collections.abc import Collection, Mapping

from rankstream.events.guess import ITEMS, NUMBERED, plain_name

SYNONYMS: Mapping[str, frozenset[str]] = {
    "id": frozenset({"id", *(word + ending for word in ITEMS for ending in NUMBERED)}),
    "title": frozenset({"title", "name", "itemname", "productname", "itemtitle", "producttitle", "movietitle",
                        "headline"}),
    "text": frozenset({"text", "description", "body", "summary", "overview", "itemdescription", "productdescription"}),
    "category": frozenset({"category", "categorypath", "categories", "breadcrumb", "breadcrumbs", "producttype"}),
    "price": frozenset({"price", "itemprice", "unitprice", "listprice", "saleprice"}),
    "currency": frozenset({"currency", "currencycode", "pricecurrency"}),
    "picture": frozenset({"picture", "image", "imageurl", "imagelink", "pictureurl", "picturepath", "thumbnail"}),
    "group": frozenset({"group", "groupid", "brand", "shop", "shopid", "seller", "sellerid", "creator", "creatorid",
                        "author", "authorid", "vendor", "vendorid", "artist", "artistid", "channel", "publisher"}),
    "collections": frozenset({"collections", "boards", "playlists"}),
    "created_at_ms": frozenset({"createdatms", "createdat", "created", "creationdate", "publishedat", "dateadded",
                                "addedat", "availablesince", "listedat", "releasedate", "published"}),
    "gone": frozenset({"gone", "deleted", "removed", "discontinued"}),
}  # fmt: skip
PARENTS = frozenset({"parent", "parentid", "parentcategory", "parentcategoryid", "categoryparent", "categoryparentid"})


def guessed(columns: Collection[str], named: Mapping[str, str]) -> dict[str, str]:
    """Return the column of each field that is not ``named``, by its own name or else by a usual one."""
    free = [column for column in columns if column not in named.values()]
    found: dict[str, str] = {}
    for name, synonyms in SYNONYMS.items():
        if name in named or name in free:
            continue
        fits = [column for column in free if plain_name(column) in synonyms]
        if len(fits) == 1:
            found[name] = fits[0]
    return found


def parents(columns: Collection[str]) -> list[str]:
    """Return the columns that name the parent of a category, which are not read."""
    return [column for column in columns if plain_name(column) in PARENTS]
