"""When who follows a topic has to look whether it lost what was read; the look itself is the worker's."""

from dataclasses import dataclass

from rankstream.streams.clients.followed_topic import FollowedTopic
from rankstream.streams.settings import Settings
from tests.builders.actions import ARecord


@dataclass
class ARead(ARecord):
    leader_epoch: int = 3


def read(offset: int, leader_epoch: int = 3) -> list[ARead]:
    return [ARead(b"{}", offset=offset, leader_epoch=leader_epoch)]


def test_records_are_in_doubt_after_a_silence_of_a_later_leader_and_where_reading_went_back():
    now = [0.0]
    topic = FollowedTopic(Settings(), "item-updates", None, clock=lambda: now[0])
    assert topic.is_in_doubt(read(0), {}), "its leader was not heard of before"
    assert not topic.is_in_doubt(read(1), {0: 1})
    now[0] = 0.6
    assert not topic.is_in_doubt([], {0: 2})
    assert topic.is_in_doubt(read(2), {0: 2}), "nothing came for longer than a broker takes to start"
    assert not topic.is_in_doubt(read(3, leader_epoch=2), {0: 3}), "of an older part of the log"
    assert topic.is_in_doubt(read(3, leader_epoch=4), {0: 3})
    assert topic.is_in_doubt(read(1, leader_epoch=4), {0: 4})
