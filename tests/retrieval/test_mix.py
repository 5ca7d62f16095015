from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.features.ids import id_key
from rankstream.retrieval.mix import RANK_OFFSET, FusedSource, MixedSource, Quota
from tests.builders.retrieval import FixedItems, NewestItems, a_user
from tests.contracts.candidate_source import CandidateSourceContract

ANYONE = a_user()


def quotas(*parts):
    return [Quota(FixedItems(f"s{at}", tuple(ids)), share) for at, (share, ids) in enumerate(parts)]


def mixed(*parts):
    return MixedSource(*quotas(*parts))


def fused(*parts):
    return FusedSource(*quotas(*parts))


class TestMixedSource(CandidateSourceContract):
    @pytest.fixture
    def source(self):
        return MixedSource(Quota(NewestItems(tuple(range(1, 31))), 2), Quota(NewestItems(tuple(range(11, 41))), 1))


class TestFusedSource(CandidateSourceContract):
    @pytest.fixture
    def source(self):
        return FusedSource(Quota(NewestItems(tuple(range(1, 31))), 2), Quota(NewestItems(tuple(range(11, 41))), 1))


def test_what_several_sources_find_goes_before_what_one_finds_however_small_their_shares():
    proposals = fused((3, "abcde"), (1, "xe"), (1, "ye")).propose(ANYONE, 4)
    assert "".join(proposals.ids) == "eabc"  # 3/65 + 1/62 + 1/62; 3/61; 3/62; 3/63
    assert proposals.sources == ["s0", "s0", "s0", "s0"]
    assert fused((1, "ab"), (1, "xb"), (1, "yb")).propose(ANYONE, 1).ids == ["b"]  # each is asked for two


def test_a_fused_item_is_told_by_the_source_that_adds_most_to_it():
    proposals = fused((1, ["7", "a"]), (1, ["b", 7]), (2, ["c", "a"])).propose(ANYONE, 9)
    assert proposals.ids == ["a", "c", "7", "b"]
    assert proposals.sources == ["s2", "s2", "s0", "s1"]


def test_of_equal_sums_an_earlier_source_goes_first():
    assert fused((1, "ab"), (1, "xy")).propose(ANYONE, 4).ids == ["a", "x", "b", "y"]
    assert fused((1, ""), (1, "")).propose(ANYONE, 4).ids == []


def test_every_prefix_is_mixed_by_the_shares():
    proposals = mixed((2, "abcdef"), (1, "xyz")).propose(ANYONE, 6)
    assert "".join(proposals.ids) == "abxcdy"
    assert proposals.sources == ["s0", "s0", "s1", "s0", "s0", "s1"]


def test_an_item_of_two_sources_is_proposed_once_and_costs_the_later_one_nothing():
    proposals = mixed((1, ["7", "a", "b"]), (1, [7, "a", "x", "y"])).propose(ANYONE, 4)
    assert proposals.ids == ["7", "a", "b", "x"]
    assert proposals.sources == ["s0", "s1", "s0", "s1"]


def test_when_a_source_runs_dry_the_others_take_over_in_the_ratio_of_their_shares():
    mix = mixed((4, "a"), (2, range(100)), (1, range(100, 200)))
    assert Counter(mix.propose(ANYONE, 31).sources) == {"s0": 1, "s1": 20, "s2": 10}


def test_fewer_are_proposed_only_when_all_sources_are_dry():
    assert mixed((9, "ab"), (1, "bc")).propose(ANYONE, 10).ids == ["a", "b", "c"]
    assert mixed((1, ""), (1, "")).propose(ANYONE, 10).ids == []


def test_mixes_can_be_mixed():
    inner = mixed((1, "ab"), (1, "xy"))
    outer = MixedSource(Quota(inner, 2), Quota(FixedItems("new", ("n",)), 1))
    assert outer.propose(ANYONE, 3).sources == ["s0", "s1", "new"]


@pytest.mark.parametrize("share", [0, -1, float("nan"), float("inf")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match="leave the source out"):
        Quota(NewestItems(()), share)


def test_a_mix_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        MixedSource()


PARTS = st.lists(st.tuples(st.integers(1, 9), st.lists(st.integers(0, 30), max_size=20, unique=True)), min_size=1)


@settings(max_examples=200)
@given(PARTS, st.integers(0, 60))
def test_a_mix_is_as_full_as_it_can_be_and_keeps_each_sources_order(parts, limit):
    proposals = mixed(*parts).propose(ANYONE, limit)
    assert len(set(map(id_key, proposals.ids))) == len(proposals.ids)
    assert len(proposals.ids) == min(limit, len({item for _, ids in parts for item in ids[:limit]}))
    for at, (_, ids) in enumerate(parts):
        mine = [item for item, source in zip(proposals.ids, proposals.sources, strict=True) if source == f"s{at}"]
        assert mine == [item for item in ids if item in mine]


@settings(max_examples=100)
@given(PARTS, st.integers(1, 60))
def test_fused_ranks_are_the_sums_of_all_and_leave_no_place_empty(parts, limit):
    proposals, sums = fused(*parts).propose(ANYONE, limit), Counter()
    for share, ids in parts:
        sums.update({item: share / (RANK_OFFSET + rank) for rank, item in enumerate(ids[: 2 * limit], start=1)})
    assert len(set(map(id_key, proposals.ids))) == len(proposals.ids) == min(limit, len(sums))
    best = sorted(sums.values(), reverse=True)[:limit]
    assert [sums[item] for item in proposals.ids] == pytest.approx(best)


@settings(max_examples=200)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 200))
def test_a_source_that_is_not_dry_gets_at_least_its_share_rounded_down(shares, limit):
    parts = [(share, [f"{at}-{n}" for n in range(limit)]) for at, share in enumerate(shares)]
    counts = Counter(mixed(*parts).propose(ANYONE, limit).sources)
    assert all(counts[f"s{at}"] >= share * limit // sum(shares) for at, share in enumerate(shares))
