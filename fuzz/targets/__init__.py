"""What is driven, by name: records, framed values, what a worker keeps, batches, files, bundles, a page's messages."""

from fuzz.law import Target
from fuzz.targets import batches, bundles, files, framed, pages, records, states

ROOMS = (records, framed, states, batches, files, bundles, pages)
TARGETS: dict[str, Target] = {one.name: one for room in ROOMS for one in room.targets()}
