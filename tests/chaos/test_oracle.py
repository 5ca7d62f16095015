"""The oracle knows what must be kept, agrees with the product over any log, and finds what was done to a state."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.ledger import expected_of, kept_of_all
from chaos.load import SURFACES, TYPES
from chaos.oracle import Differences, Kept, Sent, compare, expected_users
from rankstream.features.actions import Vocabulary
from tests.builders.actions import MORNING_MS, ARecord, SomeLiveRanker, a_pipeline, records_of

LIMIT = 3


def sent(item: int, at: int = 0, user: str = "u1", kind: str = "view", surface: str = "home", offset: int = 0) -> Sent:
    event = {
        "user_id": user,
        "item_id": item,
        "action": kind,
        "timestamp_ms": MORNING_MS + at,
        "surface": surface,
    }
    return Sent(0, offset, json.dumps(event).encode())


def kept(*records: Sent) -> Kept:
    log = [replace(record, offset=offset) for offset, record in enumerate(records)]
    return expected_users(log, TYPES, SURFACES, LIMIT)[b"u1"]


def test_the_newest_actions_are_kept_and_what_leaves_is_counted_by_type():
    found = kept(sent(1, at=1, kind="click"), sent(2, at=2), sent(3, at=3), sent(4, at=4))
    assert [item for (_, _, item), _ in found.actions] == [4, 3, 2]
    assert (found.total, found.offset, found.departed) == (4, 3, (0, 1, 0, 0))


def test_a_duplicate_counts_once_and_the_greater_surface_stays():
    found = kept(sent(1, surface="search"), sent(1), sent(1))
    assert found == Kept((((MORNING_MS, 1, 1), (2, 0)),), total=1, offset=2, departed=(0, 0, 0, 0))


def test_an_action_older_than_all_of_a_full_history_changes_nothing_but_the_offset():
    full = [sent(2, at=2), sent(3, at=3), sent(4, at=4)]
    assert kept(*full, sent(1, at=1)) == replace(kept(*full), offset=3)


def erased(at: int, user: str = "u1") -> Sent:
    event = {"user_id": user, "action": "forget", "timestamp_ms": MORNING_MS + at}
    return Sent(0, 0, json.dumps(event).encode())


def test_an_erasure_forgets_what_was_before_also_what_left_and_what_comes_late():
    found = kept(*[sent(n, at=n) for n in range(6)], erased(4), sent(3, at=3), sent(9, at=9))
    assert [item for (_, _, item), _ in found.actions] == [9, 5]
    assert (found.total, found.offset, found.departed, found.forgotten_ms) == (2, 8, (0, 0, 0, 0), MORNING_MS + 4)


def test_poison_is_no_action():
    assert expected_users([Sent(0, 0, b"poison, not JSON")], TYPES, SURFACES, LIMIT) == {}


@settings(max_examples=60)
@given(
    st.lists(
        st.one_of(
            st.builds(
                sent, st.integers(1, 3), st.integers(0, 5), st.sampled_from(["u1", "u2"]),
                st.sampled_from(TYPES), st.sampled_from(SURFACES),
            ),
            st.builds(erased, st.integers(0, 5), st.sampled_from(["u1", "u2"])),
        ),
        max_size=40,
    )
)  # fmt: skip
def test_the_product_and_the_oracle_agree_over_any_log(log):
    log = [replace(record, offset=offset) for offset, record in enumerate(log)]
    pipeline = a_pipeline(SomeLiveRanker(vocabulary=Vocabulary(TYPES, SURFACES)), limit=LIMIT)
    keys = [json.loads(record.value)["user_id"].encode() for record in log]
    pipeline.on_actions([ARecord(one.value, key, one.offset) for one, key in zip(log, keys, strict=True)])
    assert compare(expected_of(log, LIMIT), kept_of_all(records_of(pipeline))) == Differences()


MUST = kept(sent(1, at=1), sent(2, at=2))


@pytest.mark.parametrize(
    ("found", "differences"),
    [
        ({b"u1": MUST}, Differences()),
        ({}, Differences(lost=2, users=(b"u1",))),
        ({b"u1": replace(MUST, actions=MUST.actions[:1])}, Differences(lost=1, users=(b"u1",))),
        ({b"u1": replace(MUST, total=1)}, Differences(lost=1, users=(b"u1",))),
        ({b"u1": replace(MUST, total=4)}, Differences(doubled=2, users=(b"u1",))),
        ({b"u1": replace(MUST, actions=MUST.actions * 2)}, Differences(doubled=2, users=(b"u1",))),
        ({b"u1": replace(MUST, offset=0)}, Differences(wrong=1, users=(b"u1",))),
        ({b"u1": replace(MUST, actions=MUST.actions[::-1])}, Differences(wrong=1, users=(b"u1",))),
        ({b"u1": MUST, b"u2": MUST}, Differences(doubled=2, users=(b"u2",))),
    ],
)
def test_what_was_done_to_a_state_is_found(found, differences):
    assert compare({b"u1": MUST}, found) == differences
