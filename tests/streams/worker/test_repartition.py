from itertools import permutations

import pytest
from msgspec.structs import replace

from rankstream.features.user_state import HEAD, NO_OFFSET, UserState, unpack_state
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.skips import NOTHING
from rankstream.streams.topics import TopicNames
from rankstream.streams.worker.changelog import Logged
from rankstream.streams.worker.offsets import Bounds
from rankstream.streams.worker.repartition import OldPartition, Tally, longest_names, moved_state, require_whole
from rankstream.streams.worker.source import Source
from rankstream.streams.worker.vocabulary_guard import Names
from tests.builders.actions import a_state, an_action, an_erasure, an_event

HERE = Source("a", 4)
ACTIONS, CHANGELOG, EMPTY = Bounds(0, 10), Bounds(0, 5), Bounds(0, 0)


def a_partition(
    logged: Logged | None = None, actions: Bounds = ACTIONS, changelog: Bounds = CHANGELOG, skipped: range = NOTHING
) -> OldPartition:
    return OldPartition(0, actions, changelog, skipped, logged)


def test_a_moved_state_keeps_every_byte_but_its_offset():
    packed = UserState(offset=4_711, total=3).pack()
    assert unpack_state(moved_state(packed)).offset == NO_OFFSET
    assert (moved_state(packed)[:2], moved_state(packed)[10:]) == (packed[:2], packed[10:])
    marked = a_state(an_erasure(1), an_action("a", 2))
    assert unpack_state(moved_state(marked.pack())) == replace(marked, offset=NO_OFFSET)
    assert HEAD.size == 14, "format and actions of a byte each, then 8 bytes of offset"


def test_a_tally_does_not_depend_on_the_order_but_on_every_byte():
    def tally(*users: tuple[bytes, bytes]) -> Tally:
        made = Tally()
        for user in users:
            made.add(*user)
        return made

    users = [(b"u1", b"a"), (b"u2", b"b"), (b"u3", b"a")]
    assert len({str(tally(*order)) for order in permutations(users)}) == 1
    assert tally(*users) != tally((b"u1", b"b"), (b"u2", b"a"), (b"u3", b"a"))
    assert tally((b"u1", b"a")) != tally((b"u1a", b""))


def test_what_lies_behind_the_position_and_is_in_no_state_is_sent_on():
    one = a_partition(Logged(4, HERE), skipped=range(8, 9))
    one.newer[b"u1"] = 6
    lacked = [offset for offset in range(one.begin, 10) if one.lacks(an_event("u1", offset=offset))]
    assert lacked == [7, 9]
    assert one.lacks(an_event("u2", offset=5))


def test_the_names_of_codes_move_with_the_states():
    names = Names(("view", "save"), ("home",))
    known = [Logged(4, HERE, names=Names(("view",), ("home", "cart"))), Logged(4, HERE, names=names), None]
    assert longest_names(map(a_partition, known)) == Names(("view", "save"), ("home", "cart"))


def test_a_partition_that_nobody_has_used_lacks_all_its_actions():
    one = a_partition(None, changelog=EMPTY)
    require_whole(one, TopicNames(), HERE)
    assert one.begin == 0


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (a_partition(None), "does not hold all users"),
        (a_partition(None, Bounds(5, 10), EMPTY), "does not hold all users"),
        (a_partition(Logged(4, HERE), Bounds(0, 10, in_transactions=2)), "has an open transaction"),
        (a_partition(Logged(4, Source("b", 4))), "belongs to another topic"),
        (a_partition(Logged(11, HERE)), "belongs to another topic"),
    ],
)
def test_a_changelog_that_is_not_whole_or_of_another_topic_is_refused(one, why):
    with pytest.raises(ClientError, match=why):
        require_whole(one, TopicNames(), HERE)
