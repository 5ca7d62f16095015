"""What is driven, by name: records of topics, what a worker keeps, batches, files."""

from fuzz.law import Target
from fuzz.targets import batches, files, records, states

TARGETS: dict[str, Target] = {one.name: one for room in (records, states, batches, files) for one in room.targets()}
