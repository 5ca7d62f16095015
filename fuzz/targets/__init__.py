"""What is driven, by name: records of topics, what a worker keeps, batches, files, what the live page sends."""

from fuzz.law import Target
from fuzz.targets import batches, files, pages, records, states

ROOMS = (records, states, batches, files, pages)
TARGETS: dict[str, Target] = {one.name: one for room in ROOMS for one in room.targets()}
