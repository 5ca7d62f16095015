"""Which partition a key belongs to: murmur2, the default of the Java client, kafka-python and aiokafka.

A producer that places keys otherwise (librdkafka's default is CRC32) splits each user between two workers, and nobody
would notice: so the keys of what is read are compared with the partition that they lie on.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

SEED, M, SHIFT = 0x9747B28C, 0x5BD1E995, 24  # org.apache.kafka.common.utils.Utils.murmur2

Hashes = npt.NDArray[np.uint32]
KeyCheck = Callable[[Sequence[bytes]], Mapping[bytes, str]]  # keys that lie elsewhere than they belong, what to do


def murmur2(key: bytes) -> int:
    """Return Kafka's 32-bit hash of a key: plain, as the twin of ``murmur2_of_many``."""
    h = SEED ^ len(key)
    whole = len(key) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(key[at : at + 4], "little") * M & 0xFFFFFFFF
        k = (k ^ k >> SHIFT) * M & 0xFFFFFFFF
        h = h * M & 0xFFFFFFFF ^ k
    if len(key) > whole:
        h = (h ^ int.from_bytes(key[whole:], "little")) * M & 0xFFFFFFFF
    h = (h ^ h >> 13) * M & 0xFFFFFFFF
    return h ^ h >> 15


def murmur2_of_many(keys: list[bytes]) -> Hashes:
    """Return the hashes of keys of one length, ``(n,)`` uint32."""
    length = len(keys[0])
    zeros = bytes(-length % 4)
    words = np.frombuffer(zeros.join([*keys, b""]), "<u4").reshape(len(keys), -1)  # (n, words of 4 bytes)
    m = np.uint32(M)
    h = np.full(len(keys), SEED ^ length, np.uint32)
    for column in words.T[: length // 4]:
        k = column * m
        k = (k ^ k >> np.uint32(SHIFT)) * m
        h = h * m ^ k
    if length % 4:
        h = (h ^ words[:, -1]) * m
    h = (h ^ h >> np.uint32(13)) * m
    return h ^ h >> np.uint32(15)


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition that a key belongs to, of so many."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def partitions_of(keys: Iterable[bytes], partitions: int) -> dict[bytes, int]:
    """Return the partition of each of many keys, in a tenth of the time that each by itself takes."""
    found: dict[bytes, int] = {}
    for alike in _by_length(keys):
        found.update(zip(alike, _places(alike, partitions).tolist(), strict=True))
    return found


def _places(keys: list[bytes], partitions: int) -> Hashes:
    """Return the partitions of keys of one length."""
    return (murmur2_of_many(keys) & np.uint32(0x7FFFFFFF)) % np.uint32(partitions)


def anywhere(keys: Sequence[bytes]) -> Mapping[bytes, str]:
    """Return no key: where they lie is not known, or does not matter."""
    return {}


class PartitionCheck:
    """Finds the keys that do not belong to the partition that they lie on."""

    def __init__(self, partition: int, partitions: int) -> None:
        self.partition = partition
        self.partitions = partitions

    def __call__(self, keys: Sequence[bytes]) -> Mapping[bytes, str]:
        """Return the keys of users that belong elsewhere, and of each what to do."""
        return {key: self._told(key) for alike in _by_length(set(keys)) for key in self._wrong_of(alike)}

    def _wrong_of(self, keys: list[bytes]) -> list[bytes]:
        """Return those of keys of one length that belong elsewhere."""
        belongs = _places(keys, self.partitions)
        return [keys[row] for row in np.flatnonzero(belongs != self.partition).tolist()]

    def _told(self, key: bytes) -> str:
        return (
            f"the key {key[:64]!r} belongs to partition {partition_of(key, self.partitions)} of {self.partitions} by "
            f"murmur2, but lies on {self.partition}, whose worker does not know the user: set "
            "partitioner=murmur2_random in producers built on librdkafka, then `rankstream dead-letters redrive "
            "--reason wrong-partition` sends it right"
        )


def _by_length(keys: Iterable[bytes]) -> list[list[bytes]]:
    found: dict[int, list[bytes]] = {}
    for key in keys:
        found.setdefault(len(key), []).append(key)
    return list(found.values())
