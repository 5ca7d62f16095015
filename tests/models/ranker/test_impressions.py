from dataclasses import replace

import numpy as np
import pytest

from rankstream.events.arrivals import LogError
from rankstream.experiments.kuairand.request_cache import CachedRequest, RequestCache, write_cache
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.ids import id_key, id_keys
from rankstream.features.join import OfflineFeatures
from rankstream.features.schema import FeatureSizes
from rankstream.features.sessions import NoSessions
from rankstream.models.items.exposure_rates import exposure_rates
from rankstream.models.items.item_features import item_features
from rankstream.models.ranker.examples import inputs_of, session_inputs
from rankstream.models.ranker.hybrid import collate
from rankstream.models.ranker.impressions import by_day, by_either, by_gap, impression_examples
from rankstream.models.ranker.joined import JoinedRequests
from rankstream.models.ranker.training_join import daily_vectors, user_on_day
from rankstream.models.sessions.hiertcn import HierTCN, HierTCNConfig
from rankstream.models.sessions.torch_encoder import GivenSession, TorchSessions, session_vectors
from rankstream.models.users.pinnerformer import PinnerFormer, PinnerFormerConfig
from tests.builders.impressions import shown
from tests.builders.models import DAY_MS, MINUTE_MS, START_MS, a_log, a_random_log, an_item_table

HEADS = {"save": ("save",), "hide": ("hide",)}
SIZES = FeatureSizes(num_actions=4, item_dim=8, user_dim=3, session_dim=8, item_features=2)
DAY = 24 * 60


def offline_features(item_table: ItemTable, sessions=None) -> OfflineFeatures:
    rounded = ItemTable(item_table.ids, item_table.vectors.astype(np.float16).astype(np.float32))
    features = ItemTable(item_table.ids, rounded.vectors[:, :2])
    return OfflineFeatures(SIZES, rounded, features, NoVectors(3), sessions or NoSessions(8))


def test_a_session_is_a_request_and_its_impressions_are_the_candidates():
    log = a_log(
        [("u", 1, "view", 0), ("u", 2, "save", 5), ("u", 2, "view", 5), ("u", 3, "hide", 120), ("v", 1, "view", 1)]
    )
    first, second, other = impression_examples(log, HEADS, offline_features(an_item_table()))
    assert first.candidates.tolist() == [1, 2]
    assert first.labels.tolist() == [[0, 0], [1, 0]]
    assert (len(first.state.history), len(second.state.history), len(other.state.history)) == (0, 3, 0)
    assert second.now_ms == START_MS + 120 * MINUTE_MS
    assert second.labels.tolist() == [[0, 1]]


def test_a_sessions_surface_is_the_one_that_it_begins_on():
    rows = [("u", 1, "view", 0), ("u", 2, "save", 0), ("u", 3, "view", 5), ("u", 3, "hide", 120), ("v", 1, "view", 1)]
    log = replace(a_log(rows), surfaces=np.array([1, 2, 0, 1, 1]))  # v's row stands third in time
    first, second, other = impression_examples(log, HEADS, offline_features(an_item_table()))
    assert (first.surface, second.surface, other.surface) == (2, 1, 0)


def test_what_came_before_only_fills_the_state():
    log = a_log([("u", 1, "view", 0), ("u", 2, "save", 5), ("u", 3, "hide", 10)])
    (only,) = impression_examples(log, HEADS, offline_features(an_item_table()), since_ms=START_MS + 4 * MINUTE_MS)
    assert only.candidates.tolist() == [2, 3]
    assert len(only.state.history) == 1


def test_a_days_impressions_can_be_one_request():
    log = a_log([("u", 1, "view", 0), ("u", 2, "save", 60), ("u", 3, "hide", DAY)])
    first, second = impression_examples(log, HEADS, offline_features(an_item_table()), cut=by_day(-(START_MS % DAY_MS)))
    assert (first.candidates.tolist(), second.candidates.tolist()) == ([1, 2], [3])
    assert len(first.state.history) == 0


def test_a_cache_returns_what_the_join_returned(tmp_path):
    offline = offline_features(an_item_table())
    examples = list(impression_examples(a_random_log(5, 30, 40), HEADS, offline))
    inputs = [inputs_of(one, offline) for one in examples]
    requests = (
        CachedRequest(one, example.labels, example.user_key, example.now_ms, example.candidates)
        for one, example in zip(inputs, examples, strict=True)
    )
    write_cache(tmp_path, requests, SIZES, tuple(HEADS))
    cache = RequestCache(tmp_path)
    rows = np.array([3, 0, 7])
    wanted = collate([inputs[row] for row in rows], [examples[row].labels for row in rows])
    for name, part in vars(cache.batch(rows)).items():
        assert part.equal(getattr(wanted, name)), name
    assert [len(found) for found, _ in cache.batches(10)]
    every = np.concatenate([found for found, _ in cache.batches(10)])
    assert sorted(every.tolist()) == list(range(len(cache.labels)))
    assert cache.now_ms.tolist() == [one.now_ms for one in examples]
    assert (
        RequestCache(tmp_path, num_actions=2).batch(rows).action_types.tolist() == wanted.action_types[:, :2].tolist()
    )


def test_sessions_of_a_day_merged_are_the_day_as_one_request(tmp_path):
    offline, midnight = offline_features(an_item_table()), by_day(0)
    log = a_log([(f"u{user}", 7 * user + step, "save" if step % 3 else "hide", 300 * step) for user in range(3)
                 for step in range(7)])  # fmt: skip
    caches = {}
    for name, cut in (("sessions", by_either(by_gap(), midnight)), ("days", midnight)):
        examples = list(impression_examples(log, HEADS, offline, cut=cut))
        requests = (
            CachedRequest(inputs_of(one, offline), one.labels, one.user_key,
                          one.now_ms, one.candidates)
            for one in examples
        )  # fmt: skip
        write_cache(tmp_path / name, requests, SIZES, tuple(HEADS))
        caches[name] = RequestCache(tmp_path / name)
    sessions, days = caches["sessions"], caches["days"]
    users = np.unique(sessions.user_keys, return_inverse=True)[1]
    merged = sessions.merged(users * 100_000 + sessions.now_ms // DAY_MS)
    assert len(merged) == len(days) < len(sessions)
    rows = np.array([merged.requested.tolist().index(one) for one in days.requested[:2].tolist()])
    for name, part in vars(merged.batch(rows)).items():
        assert part.equal(getattr(days.batch(np.arange(2)), name)), name


def test_vectors_that_are_not_exact_in_float16_are_refused(tmp_path):
    item_table = an_item_table()
    offline = OfflineFeatures(SIZES, item_table, NoVectors(2), NoVectors(3), NoSessions(8))
    (one,) = impression_examples(a_log([("u", 1, "view", 0)]), HEADS, offline)
    inputs = inputs_of(one, offline)
    with pytest.raises(ValueError, match="candidate_items are not exact in float16"):
        write_cache(tmp_path, [CachedRequest(inputs, one.labels, 1, 0, one.candidates)], SIZES, tuple(HEADS))


def test_session_vectors_of_many_are_those_of_each():
    hiertcn = HierTCN(HierTCNConfig(item_dim=8, hidden=8, layer_state=8, channels=(8,)))
    encoder = TorchSessions(hiertcn)
    offline = offline_features(an_item_table(), encoder)
    examples = list(impression_examples(a_random_log(6, 30, 60), HEADS, offline))
    found = session_vectors(hiertcn, [session_inputs(one, offline) for one in examples])
    wanted = np.stack([encoder.encode(*session_inputs(one, offline)) for one in examples])
    assert np.abs(found - wanted).max() < 1e-6
    given = GivenSession(encoder.tag, encoder.state_size, found[0])
    assert given.encode(*session_inputs(examples[0], offline)).tolist() == found[0].tolist()


def test_rates_count_earlier_impressions_only():
    log = a_log([("u", 1, "save", 0), ("v", 1, "view", 1), ("w", 1, "save", DAY), ("w", 2, "view", DAY + 1)])
    rates = exposure_rates(log, ItemTable(np.array([1, 2]), np.zeros((2, 8), np.float32)), {"save": ("save",)}, {})
    assert rates.as_of(START_MS)[:, :2].tolist() == [[0, 0], [0, 0]]
    morning = rates.as_of(START_MS + (DAY - 1) * MINUTE_MS)
    evening = rates.as_of(START_MS + 2 * DAY * MINUTE_MS)
    assert morning[:, 0] == pytest.approx([np.log1p(2) / 10, 0])
    assert evening[0, 2] > 0 > evening[1, 2]
    assert rates.feature_names == ("log_exposures", "log_yesterday", "rate_save")


def test_a_rate_counts_from_when_the_log_reports_it():
    log = a_log([("u", 1, "view", 0), ("u", 2, "view", 0), ("v", 1, "save", DAY), ("v", 2, "view", DAY)])
    item_table = ItemTable(np.array([1, 2]), np.zeros((2, 8), np.float32))
    later = {"save": START_MS + MINUTE_MS}
    observed = exposure_rates(log, item_table, {"save": ("save",)}, later).as_of(START_MS + 2 * DAY * MINUTE_MS)
    whole = exposure_rates(log, item_table, {"save": ("save",)}, {}).as_of(START_MS + 2 * DAY * MINUTE_MS)
    assert observed[0, 2] - observed[1, 2] != whole[0, 2] - whole[1, 2]
    assert observed[:, 0].tolist() == whole[:, 0].tolist()


# Lists that a log says were shown -------------------------------------------------------------------------------------


def with_lists(rows, *lists):
    return replace(a_log(rows), impressions=shown(*lists))


def test_a_shown_list_is_a_request_as_of_strictly_before_it_and_what_followed_are_its_labels():
    log = with_lists(
        [("u", 2, "save", 1), ("u", 9, "view", 2), ("u", 1, "hide", 10), ("u", 3, "save", 11), ("u", 1, "save", 50)],
        ("u", 3, 0), ("u", 1, 0), ("u", 2, 0), ("u", 4, 10), ("u", 1, 10),
    )  # fmt: skip
    first, second = impression_examples(log, HEADS, offline_features(an_item_table()))
    assert (first.candidates.tolist(), second.candidates.tolist()) == ([1, 2, 3], [1, 4])
    assert first.labels.tolist() == [
        [0, 0],
        [1, 0],
        [1, 0],
    ]  # 3 was saved 11 minutes later; 1 by then stood in a newer list
    assert second.labels.tolist() == [[0, 1], [0, 0]]  # hidden at the list's own time; saved too late
    assert (len(first.state.history), len(second.state.history)) == (0, 2)  # what was done at minute 10 is not known
    assert (first.now_ms, second.now_ms) == (START_MS, START_MS + 10 * MINUTE_MS)


def test_a_list_says_of_each_candidate_where_it_stood_if_its_log_does():
    rows = [("u", 3, 0, "r1", 1), ("u", 1, 0, "r1", 2), ("u", 2, 0, "r1", 12), ("u", 2, 9, "r2"), ("u", 1, 9, "r2")]
    log = with_lists([("u", 2, "save", 1)], *rows)
    told, not_told = impression_examples(log, HEADS, offline_features(an_item_table()))
    assert (told.candidates.tolist(), told.places.tolist()) == ([1, 2, 3], [2, 12, 1])
    assert not_told.places is None
    requests = JoinedRequests.of([told, not_told], offline_features(an_item_table()))
    assert requests.have_places
    assert requests.batch(np.array([1, 0])).places.tolist() == [0, 0, 2, 12, 1]


def test_who_never_acted_is_a_request_too_and_lists_before_the_training_fill_nothing():
    lists = [("u", 2, 0, "r1"), ("u", 3, 20, "r2"), ("v", 1, 20, "r3"), ("v", 2, 20, "r3")]
    log = with_lists([("u", 2, "save", 1), ("u", 3, "save", 21)], *lists)
    one, other = impression_examples(log, HEADS, offline_features(an_item_table()), since_ms=START_MS + 5 * MINUTE_MS)
    assert (one.candidates.tolist(), other.candidates.tolist()) == ([3], [1, 2])
    assert (len(one.state.history), len(other.state.history)) == (1, 0)
    assert not other.labels.any()


def test_lists_leave_histories_as_the_actions_alone_make_them():
    log = a_random_log(4, 30, 60)
    seen_at = [(f"user{user}", item, minute) for user in range(4) for minute in (50, 400) for item in range(5)]
    listed = replace(log, impressions=shown(*seen_at))
    for one in impression_examples(listed, HEADS, offline_features(an_item_table())):
        mine = id_keys(log.user_ids.tolist()) == one.user_key
        before = log.rows(mine & (log.times_ms < one.now_ms))
        assert one.state.history.columns().item_keys.tolist() == before.item_keys[before.by_user.order][::-1].tolist()


def test_a_log_whose_lists_were_all_shown_before_the_ranker_learns_is_refused():
    log = with_lists([("u", 2, "save", 1)], ("u", 2, 0), ("u", 3, 0))
    with pytest.raises(LogError, match=r"but the newest of 1 was shown at 1700000000000 ms; give impressions up to"):
        list(impression_examples(log, HEADS, offline_features(an_item_table()), since_ms=START_MS + 1))
    with pytest.raises(LogError, match="no list was shown before the training's end"):
        list(impression_examples(log.split_at(START_MS)[0], HEADS, offline_features(an_item_table())))


def test_a_user_has_a_vector_on_each_day_of_a_list_and_of_what_was_done_before_that_day():
    model = PinnerFormer(PinnerFormerConfig(action_types=3, surfaces=2, item_dim=8))
    midnight = (DAY_MS - START_MS % DAY_MS) / MINUTE_MS
    rows = [("u", 1, "save", midnight), ("u", 2, "save", midnight + 3 * DAY)]
    log = with_lists(rows, ("u", 2, midnight + DAY + 5), ("u", 3, 0), ("v", 3, midnight + DAY + 5))
    first = (START_MS + DAY_MS) // DAY_MS
    ids = daily_vectors(model, an_item_table(), log).ids.tolist()
    assert ids == [user_on_day(id_key("u"), first + day) for day in (1, 3)]


def test_the_rates_of_shown_lists_count_what_was_shown_and_what_came_of_it():
    log = with_lists(
        [("u", 1, "save", 1), ("u", 9, "save", 2), ("v", 1, "save", 11), ("v", 2, "save", 50)],
        ("u", 1, 0), ("u", 2, 0), ("v", 1, 10), ("v", 2, 10), ("v", 8, 10),
    )  # fmt: skip
    items = ItemTable(np.array([1, 2, 9]), np.zeros((3, 8), np.float32))
    features, names = item_features(log, items, {"save": ("save",)})
    columns = dict(zip(names, features.T.tolist(), strict=True))
    assert columns["log_exposures"] == pytest.approx([np.log1p(2) / 10, np.log1p(2) / 10, 0])
    # 1 was saved both times that it was shown; 2 too late, 40 minutes after; 9 was never shown: as usual, 2 of 4
    odds = (2 + 20 * 0.5) / (20 - 20 * 0.5), (20 * 0.5) / (2 + 20 * 0.5)
    assert columns["rate_save"] == pytest.approx([np.log(odds[0]), np.log(odds[1]), 0], abs=1e-6)
    assert item_features(log, items)[1] == names[:-3]  # without rates, what was done is all that counts
