"""The part that is the items' attributes: what they are apart from what users do (``features/attributes/table.py``)."""

from pathlib import Path

from rankstream.bundles.parts import BundlePart, Part, Written
from rankstream.features.attributes.columns import attribute_width, column_names
from rankstream.features.attributes.table import ATTRIBUTE_FILES, ItemAttributes, write_attributes

ATTRIBUTES = "attributes"
COLUMNS, NAMES = "columns", "names"  # facts: how many the ranker was trained with, and what they are


def export_attributes(attributes: ItemAttributes) -> BundlePart:
    """Return the part that writes the attributes into a folder named as the kind."""

    def write(folder: Path) -> Written:
        write_attributes(folder / ATTRIBUTES, attributes)
        return Written()

    names = attributes.names
    facts = {COLUMNS: attribute_width(names), NAMES: list(column_names(names))}
    files = tuple(f"{ATTRIBUTES}/{name}" for name in ATTRIBUTE_FILES)
    return BundlePart(Part(kind=ATTRIBUTES, files=files, facts=facts), write)
