"""What is driven, by name: records of topics, what a worker keeps, batches, files, bundles, what a live page sends."""

from fuzz.law import Target
from fuzz.targets import batches, bundles, files, pages, records, states

ROOMS = (records, states, batches, files, bundles, pages)
TARGETS: dict[str, Target] = {one.name: one for room in ROOMS for one in room.targets()}
