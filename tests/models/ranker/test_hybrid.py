"""The ranker, its loss, the cut in two, and the examples it learns from."""

from dataclasses import replace
from math import log2

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.events.log import EventLog
from rankstream.features.actions import Vocabulary
from rankstream.features.attributes.columns import attribute_width
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.ids import id_key, id_keys
from rankstream.features.join import OfflineFeatures, columns_of_attributes, columns_of_known, match_user
from rankstream.features.matches.columns import match_width
from rankstream.features.matches.tables import no_matches
from rankstream.features.schema import FeatureSizes
from rankstream.features.sessions import NoSessions
from rankstream.models.items.attributes import item_attributes
from rankstream.models.items.matches import match_tables
from rankstream.models.ranker.examples import (
    STRANGER,
    NegativesConfig,
    RankingExample,
    inputs_of,
    joined,
    pool_of,
    ranking_examples,
    with_negatives,
    without_actions,
)
from rankstream.models.ranker.factored import SplitRanker
from rankstream.models.ranker.hybrid import RankerConfig, collate
from rankstream.models.ranker.joined import JoinedRequests
from rankstream.models.ranker.training import RankerTraining, mean_auc, served_ndcg, train_ranker
from rankstream.models.sessions import torch_encoder
from rankstream.models.sessions.hiertcn import HierTCN, HierTCNConfig
from rankstream.models.sessions.torch_encoder import TorchSessions
from rankstream.models.training.checkpoints import weights_tag
from rankstream.models.training.loop import FitConfig
from rankstream.models.training.losses import weighted_multi_head_loss
from tests.builders.actions import SomeVectors
from tests.builders.catalogue import a_catalogue, an_item
from tests.builders.ranker import SMALL, a_config, a_ranker, largest, some_inputs

VOCABULARY = Vocabulary(("view", "click", "save", "hide"))
HEADS = {"save": ("save",), "hide": ("hide",)}
HOUR_MS = 3_600_000
ALONE = NegativesConfig(0)


def offline_features(sizes: FeatureSizes = SMALL, sessions: object = None) -> OfflineFeatures:
    sessions = sessions or NoSessions(sizes.session_dim)
    tables = SomeVectors(sizes.item_dim), SomeVectors(sizes.item_features), NoVectors(sizes.user_dim)
    return OfflineFeatures(sizes, *tables, sessions)


def a_log(*rows: tuple[str, str, str, int]) -> EventLog:
    """Rows of (user, item, action, hours since the start)."""
    users, items, actions, hours = zip(*rows, strict=True)
    codes = np.array([VOCABULARY.action_codes[name] for name in actions], np.int64)
    times_ms = np.array([HOUR_MS * (1000 + hour) for hour in hours], np.int64)
    return EventLog(VOCABULARY, np.array(users, object), np.array(items, object), codes, times_ms)


def examples_of(log: EventLog, negatives: NegativesConfig = ALONE, **more: object) -> list[RankingExample]:
    return ranking_examples(log, HEADS, offline_features(), negatives, np.random.default_rng(0), **more)


# --- The module --------------------------------------------------------------------------------------------------


def test_a_batch_of_requests_returns_what_each_request_returns():
    ranker = a_ranker()
    requests = [some_inputs(actions, candidates, seed=actions) for actions, candidates in ((0, 2), (3, 1), (12, 4))]
    together = torch.sigmoid(ranker(collate(requests))).detach()
    apart = torch.cat([ranker.probabilities(inputs) for inputs in requests])
    torch.testing.assert_close(together, apart)


def test_a_candidate_does_not_depend_on_the_others():
    ranker = a_ranker()
    inputs = some_inputs(actions=9, candidates=8)
    alone = replace(
        inputs, candidate_items=inputs.candidate_items[5:6], candidate_features=inputs.candidate_features[5:6]
    )
    torch.testing.assert_close(ranker.probabilities(alone), ranker.probabilities(inputs)[5:6])


@pytest.mark.parametrize("part", ["action_items", "user_vector", "session_vector", "context", "candidate_features"])
def test_every_input_matters(part):
    ranker = a_ranker()
    inputs = some_inputs()
    other = replace(inputs, **{part: getattr(inputs, part) + 1})
    assert largest(ranker.probabilities(inputs) - ranker.probabilities(other)) > 1e-4


def test_training_and_serving_agree_without_dropout():
    ranker = a_ranker()
    batch = collate([some_inputs(5), some_inputs(11)])
    torch.testing.assert_close(ranker.train()(batch), ranker.eval()(batch))


def test_a_config_that_contradicts_itself_is_refused():
    with pytest.raises(ValueError, match="vectors of 4, the features for 8"):
        replace(a_config(), sizes=replace(SMALL, item_dim=8))
    with pytest.raises(ValueError, match="at least one, each once"):
        RankerConfig(a_config().transact, SMALL, heads=("save", "save"))


# --- The cut in two ----------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    actions=st.integers(0, 12),
    candidates=st.integers(1, 5),
    heads=st.sampled_from([1, 2, 4]),
    layers=st.integers(1, 3),
    rank=st.sampled_from([None, 3]),
    crosses=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_the_cut_is_exact(actions, candidates, heads, layers, rank, crosses, seed):
    config = a_config(heads=heads, layers=layers, cross_rank=rank, crosses=crosses)
    ranker = a_ranker(config, seed).double()
    inputs = some_inputs(actions, candidates, seed)
    assert largest(SplitRanker(ranker).probabilities(inputs) - ranker.probabilities(inputs).numpy()) < 1e-12


def test_the_cut_stays_finite_where_scores_are_huge():
    ranker = a_ranker(spread=3.0).double()
    with torch.no_grad():
        for layer in ranker.transact.layers:
            layer.project.weight *= 30  # scores of thousands: exp(S) exp(b) would overflow
    inputs = some_inputs(12, 5)
    cut = SplitRanker(ranker).probabilities(inputs)
    assert np.isfinite(cut).all()
    assert largest(cut - ranker.probabilities(inputs).numpy()) < 1e-9


# --- The loss ----------------------------------------------------------------------------------------------------


def test_the_loss_is_the_papers_sum():
    logits = torch.tensor([[0.3, -1.0], [2.0, 0.1]])
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    matrix = torch.tensor([[1.0, 2.0, 5.0], [1.0, 3.0, 7.0]])  # columns: no action, save, hide
    users = torch.tensor([1.0, 3.0])
    cross = -(labels * torch.sigmoid(logits).log() + (1 - labels) * (1 - torch.sigmoid(logits)).log())
    by_hand = 1.0 * (2 * cross[0, 0] + 3 * cross[0, 1]) + 3.0 * (5 * cross[1, 0] + 7 * cross[1, 1])
    torch.testing.assert_close(weighted_multi_head_loss(logits, labels, matrix, users), by_hand / 4)


def test_a_candidate_without_any_action_weighs_by_the_first_column():
    logits, labels, users = torch.tensor([[1.0, 1.0]]), torch.zeros(1, 2), torch.ones(1)
    nothing = torch.tensor([[0.0, 9.0, 9.0], [0.5, 9.0, 9.0]])
    loss = weighted_multi_head_loss(logits, labels, nothing, users)
    torch.testing.assert_close(loss, 0.5 * torch.nn.functional.softplus(torch.tensor(1.0)))


def test_a_users_weight_of_zero_takes_the_user_out():
    logits, labels, matrix = torch.randn(3, 2), torch.ones(3, 2), torch.ones(2, 3)
    some = weighted_multi_head_loss(logits, labels, matrix, torch.tensor([1.0, 1.0, 0.0]))
    torch.testing.assert_close(some, weighted_multi_head_loss(logits[:2], labels[:2], matrix, torch.ones(2)))


# --- The examples ------------------------------------------------------------------------------------------------


def test_a_request_sees_only_what_happened_strictly_earlier():
    log = a_log(("u", "a", "view", 0), ("u", "b", "save", 1), ("u", "c", "view", 1), ("u", "d", "hide", 2))
    first, second, third = examples_of(log)
    assert [len(one.state.history) for one in (first, second, third)] == [0, 1, 3]
    inputs = inputs_of(second, offline_features())
    assert inputs.action_ages_ms.tolist() == [HOUR_MS]


def test_a_request_has_the_surface_of_what_was_done_then():
    rows = [("u", "a", "save", 0), ("u", "b", "view", 1), ("u", "c", "view", 1), ("u", "d", "view", 2)]
    vocabulary = Vocabulary(VOCABULARY.actions, ("home", "search"))
    log = replace(a_log(*rows), vocabulary=vocabulary, surfaces=np.array([1, 1, 2, 0]))
    first, second, third = examples_of(log)
    assert [one.surface for one in (first, second, third)] == [1, 2, 0]
    offline = replace(offline_features(), sizes=replace(SMALL, surfaces=2))
    assert inputs_of(second, offline).context[-2:].tolist() == [0, 1]


def test_labels_show_what_was_done_to_each_candidate():
    log = a_log(("u", "a", "save", 0), ("u", "b", "view", 0), ("u", "a", "hide", 0))
    (example,) = examples_of(log)
    labels = dict(zip(example.candidates.tolist(), example.labels.tolist(), strict=True))
    assert labels == {id_key("a"): [1.0, 1.0], id_key("b"): [0.0, 0.0]}


def test_users_do_not_see_each_other():
    log = a_log(("u", "a", "save", 0), ("v", "b", "save", 1), ("u", "c", "save", 2))
    of_u = [one for one in examples_of(log) if one.user_key == id_key("u")]
    assert of_u[1].state.history.columns().item_keys.tolist() == [id_key("a")]


def test_actions_before_the_start_fill_states_but_are_no_examples():
    log = a_log(("u", "a", "save", 0), ("u", "b", "save", 1), ("u", "c", "save", 2))
    (example,) = examples_of(log, since_ms=HOUR_MS * 1002)
    assert len(example.state.history) == 2


def test_negatives_are_other_items_each_once_with_labels_of_zero():
    log = a_log(*((f"u{n}", f"i{n % 7}", "save", n) for n in range(30)))
    for example in examples_of(log, NegativesConfig(4)):
        assert len(set(example.candidates.tolist())) == len(example.candidates) == 5
        assert example.labels[1:].sum() == 0
        assert example.labels[0].tolist() == [1.0, 0.0]


def test_negatives_can_avoid_what_the_user_has_seen():
    log = a_log(*(("u", f"i{n}", "save", n) for n in range(20)))
    for number, example in enumerate(examples_of(log, NegativesConfig(8, exclude_seen=True))):
        seen = {id_key(f"i{n}") for n in range(number)}
        assert not seen & set(example.candidates.tolist())


def test_popular_negatives_are_sampled_as_often_as_they_are_acted_on():
    rows = [(f"u{n}", "hit" if n % 2 else f"i{n}", "save", n) for n in range(400)]
    rows.append(("v", "other", "save", 400))
    share = {}
    for popular in (0.0, 1.0):
        log = a_log(*rows)
        sampled = [
            key for one in examples_of(log, NegativesConfig(1, popular=popular)) for key in one.candidates[1:].tolist()
        ]
        share[popular] = sampled.count(id_key("hit")) / len(sampled)
    assert share[0.0] < 0.05
    assert share[1.0] > 0.25  # half of all actions, but it can't be sampled beside itself


def test_each_drawn_item_is_kept_with_how_often_it_was_to_be_drawn():
    log = a_log(*((f"u{n}", f"i{n % 10}", "save", n) for n in range(100)))  # each item as popular as the others
    one = examples_of(log, NegativesConfig(3, popular=0.5))[-1]
    np.testing.assert_allclose(np.exp(one.log_q), [1, 0.3, 0.3, 0.3], rtol=1e-5)


def test_items_that_match_are_drawn_beside_random_ones_and_stand_for_the_matching_ones():
    log = a_log(
        *((f"u{n % 5}", f"i{n % 7}", "save", n) for n in range(35)), *(("v", f"i{n}", "save", 40) for n in range(4))
    )
    offline = replace(offline_features(), matches=match_tables(log, ["save"]))
    *_, before = ranking_examples(log, HEADS, offline, NegativesConfig(0, matched=2), np.random.default_rng(0))
    assert not len(before.state.history)  # of v: nothing matches
    assert len(before.candidates) == 4
    one = ranking_examples(log, HEADS, offline, NegativesConfig(0, matched=2), np.random.default_rng(0))[6]
    matching = match_user(one.state, one.user_key, one.now_ms, offline).proposed(30)
    left = set(matching.tolist()) - set(one.candidates[:1].tolist())
    assert set(one.candidates[1:].tolist()) < left
    np.testing.assert_allclose(np.exp(one.log_q), [1, *[2 / len(left)] * 2], rtol=1e-5)


def test_requests_are_drawn_where_there_are_too_many():
    log = a_log(*((f"u{n % 3}", f"i{n % 7}", "save", n) for n in range(30)))
    drawn = examples_of(log, max_requests=7)
    assert len(drawn) == 7
    every = {(one.user_key, one.now_ms): one for one in examples_of(log)}
    assert all(every[one.user_key, one.now_ms].state == one.state for one in drawn)


def test_some_requests_are_asked_as_by_a_user_of_whom_no_action_is_known():
    log = a_log(*((f"u{n % 3}", f"i{n % 7}", "save", n) for n in range(300)))
    plain = examples_of(log)
    some = without_actions(plain, 0.4, np.random.default_rng(0))
    assert len(some) == 120
    assert sum(one.user_key == STRANGER for one in some) == 60  # nothing is known of these, the vector of the others
    assert all(not len(one.state.history) for one in some)
    by_time = {(one.now_ms, one.candidates.tobytes()): one for one in plain}
    assert len({(one.now_ms, one.candidates.tobytes()) for one in some}) == 120
    for one in some:
        asked = by_time[one.now_ms, one.candidates.tobytes()]
        assert one.labels is asked.labels
        assert one.user_key in (STRANGER, asked.user_key)


def test_a_hidden_candidate_is_what_the_join_makes_of_an_unknown_item():
    log = a_log(*((f"u{n % 3}", f"i{n % 4}", "save", n // 3) for n in range(90)))
    sizes = replace(SMALL, match_features=match_width(len(VOCABULARY.actions)))
    knowing = replace(offline_features(sizes), matches=match_tables(log, ["save"]))
    nothing = NoVectors(sizes.item_dim), NoVectors(sizes.item_features)
    unknowing = replace(knowing, items=nothing[0], item_features=nothing[1], matches=no_matches())
    some = ranking_examples(log, HEADS, knowing, NegativesConfig(2), np.random.default_rng(0))
    known, unknown = joined(some, knowing), joined(some, unknowing)
    columns = torch.from_numpy(columns_of_known(sizes))
    assert (known.candidate_features[:, columns] != 0).any(dim=0).sum() > 4  # there is what to hide
    every = known.hide_items(1.0, columns, torch.Generator())
    torch.testing.assert_close(every.candidate_features, unknown.candidate_features)
    torch.testing.assert_close(every.candidate_items, unknown.candidate_items)
    half = known.hide_items(0.5, columns, torch.Generator().manual_seed(0))
    hidden = half.candidate_features[:, -1] == 0  # the mask bit
    assert 0.3 < hidden.double().mean() < 0.7
    torch.testing.assert_close(half.candidate_features[~hidden], known.candidate_features[~hidden])
    torch.testing.assert_close(half.candidate_features[hidden], unknown.candidate_features[hidden])


def test_a_candidate_without_attributes_is_what_the_join_makes_of_an_item_that_no_catalogue_knows():
    items = [an_item(f"i{n}", category=("even", "odd")[n % 2], price=1.0 + n) for n in range(4)]
    log = a_log(*((f"u{n % 3}", f"i{n % 4}", "save", n // 3) for n in range(90)))
    attributes, types = item_attributes(a_catalogue(*items), log), len(VOCABULARY.actions)
    sizes = replace(SMALL, match_features=match_width(types) + attribute_width(attributes.names))
    knowing = replace(offline_features(sizes), matches=match_tables(log, ["save"]), attributes=attributes)
    some = ranking_examples(log, HEADS, knowing, NegativesConfig(2), np.random.default_rng(0))
    known, unknown = joined(some, knowing), joined(some, replace(knowing, attributes=attributes.of_no_item()))
    columns = torch.from_numpy(columns_of_attributes(sizes, types))
    assert int(columns.sum()) == attribute_width(attributes.names)
    every = known.hide_attributes(1.0, columns, torch.Generator())
    torch.testing.assert_close(every.candidate_features, unknown.candidate_features)
    half = known.hide_attributes(0.5, columns, torch.Generator().manual_seed(0))
    hidden = (half.candidate_features[:, columns] == 0).all(dim=1)
    assert 0.3 < hidden.double().mean() < 0.7
    torch.testing.assert_close(half.candidate_features[~hidden], known.candidate_features[~hidden])


def test_an_item_without_a_vector_keeps_what_a_catalogue_says_of_it():
    sizes = replace(SMALL, match_features=match_width(4) + 7)
    assert not columns_of_known(sizes)[columns_of_attributes(sizes, 4)].any()
    for without in (SMALL, replace(SMALL, match_features=match_width(4))):
        assert not columns_of_attributes(without, 4).any()


def test_an_item_without_a_vector_is_no_positive_and_no_negative():
    log = a_log(("u", "a", "save", 0), ("u", "b", "save", 1), ("u", "c", "save", 2))
    offline = replace(offline_features(), items=a_table_of("a", "b"))
    found = ranking_examples(log, HEADS, offline, NegativesConfig(2), np.random.default_rng(0), only_known=True)
    assert [set(one.candidates.tolist()) <= set(id_keys(["a", "b"]).tolist()) for one in found] == [True] * 3
    assert [bool(one.labels.any()) for one in found] == [True, True, False]


def test_other_negatives_leave_what_was_acted_on():
    log = a_log(*((f"u{n % 3}", f"i{n % 7}", "save", n) for n in range(30)))
    some = examples_of(log)
    more = with_negatives(
        some, pool_of(log, offline_features()), offline_features(), NegativesConfig(4), np.random.default_rng(1)
    )
    assert [one.candidates[0] for one in more] == [one.candidates[0] for one in some]
    assert [len(one.candidates) for one in more] == [5] * 30


def a_table_of(*items):
    return ItemTable(np.array(items, object), np.ones((len(items), SMALL.item_dim), np.float32))


def test_the_same_seed_samples_the_same_examples():
    log = a_log(*((f"u{n % 3}", f"i{n % 7}", "save", n) for n in range(30)))
    one, other = (examples_of(log, NegativesConfig(4)) for _ in range(2))
    assert all(np.array_equal(a.candidates, b.candidates) for a, b in zip(one, other, strict=True))


def test_the_batch_is_the_join_of_each_request():
    log = a_log(*((f"u{n % 2}", f"i{n % 7}", "save", n) for n in range(10)))
    examples = examples_of(log, NegativesConfig(2))
    batch = joined(examples[:3], offline_features())
    inputs = inputs_of(examples[2], offline_features())
    rows = (batch.request_of == 2).numpy()
    assert np.array_equal(batch.candidate_items.numpy()[rows], inputs.candidate_items)
    assert np.array_equal(batch.action_types.numpy()[2, : len(inputs.action_types)], inputs.action_types)
    assert np.array_equal(batch.labels.numpy()[rows], examples[2].labels)


def test_sessions_that_left_the_history_are_in_the_state():
    hiertcn = HierTCN(HierTCNConfig(item_dim=4, hidden=4, layer_state=3, channels=(4,)))
    sessions = TorchSessions(hiertcn)
    log = a_log(*(("u", f"i{n}", "save", n) for n in range(8)))
    offline = offline_features(replace(SMALL, session_dim=4), sessions)
    *_, last = ranking_examples(log, HEADS, offline, NegativesConfig(0), np.random.default_rng(0), limit=3)
    state = np.zeros((1, 3), np.float32)
    vectors, _ = offline.items.look_up(np.array([id_key(f"i{n}") for n in range(3)], np.uint64))
    for vector in vectors:  # an hour apart, each a session; the seventh request's state has let go of four, one open
        state = sessions.fold(state, vector[None]).astype(np.float16).astype(np.float32)
    assert largest(last.state.tail.recurrent(sessions.tag, 3) - state[0]) == 0


def test_the_torch_session_encoder_remembers_without_changing_anything():
    hiertcn = HierTCN(HierTCNConfig(item_dim=4, hidden=4, layer_state=3, channels=(4,)))
    rng = np.random.default_rng(0)
    state, closed, opened = (rng.standard_normal(shape).astype(np.float32) for shape in ((3,), (2, 4), (5, 4)))
    fresh, used = TorchSessions(hiertcn), TorchSessions(hiertcn, remembered=2)
    for _ in range(3):
        assert np.array_equal(used.encode(state, closed, opened), fresh.encode(state, closed, opened))
    assert weights_tag(hiertcn) == fresh.tag != weights_tag(HierTCN(hiertcn.config))


@pytest.mark.parametrize("at_once", [2, 1_024])
def test_many_sessions_at_once_are_those_encoded_one_by_one(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_encoder, "AT_ONCE", at_once)
    hiertcn = HierTCN(HierTCNConfig(item_dim=4, hidden=4, layer_state=3, channels=(4, 4)))
    rng = np.random.default_rng(0)

    def a_request(sessions: int, items: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        shapes = (3,), (sessions, 4), (items, 4)
        return tuple(rng.standard_normal(shape).astype(np.float32) for shape in shapes)

    requests = [a_request(sessions, items) for sessions, items in ((0, 0), (3, 5), (1, 20), (7, 1), (0, 2))]
    together = TorchSessions(hiertcn)
    together.prepare(requests)
    for one in requests:
        assert largest(together.encode(*one) - TorchSessions(hiertcn).encode(*one)) < 1e-6


# --- Learning ----------------------------------------------------------------------------------------------------


def a_world(predictable: bool, seed: int) -> tuple[EventLog, OfflineFeatures]:
    """Users who save an item of the kind that they last looked at, or any item; kinds are eight, items 200."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(150):
        for session in range(4):
            kind = int(rng.integers(8))
            wanted = kind if predictable else int(rng.integers(8))
            looked, saved = kind + 8 * int(rng.integers(25)), wanted + 8 * int(rng.integers(25))
            hour = 10 * session + user * 50
            rows += [(f"u{user}", looked, "view", hour), (f"u{user}", saved, "save", hour + 1)]
    log = EventLog(
        VOCABULARY,
        np.array([row[0] for row in rows], object),
        np.array([row[1] for row in rows], np.int64),
        np.array([VOCABULARY.action_codes[str(row[2])] for row in rows], np.int64),
        np.array([HOUR_MS * int(row[3]) for row in rows], np.int64),
    )
    sizes = FeatureSizes(num_actions=6, item_dim=8, user_dim=1, session_dim=1, item_features=1)
    return log, OfflineFeatures(sizes, Kinds(), NoVectors(1), NoVectors(1), NoSessions(1))


class Kinds:
    """Items whose vectors tell their kind."""

    dim = 8

    def look_up(self, keys):
        return np.eye(8, dtype=np.float32)[(keys % np.uint64(8)).astype(np.int64)], np.ones(len(keys), np.bool_)


def learned_ndcg(predictable: bool) -> float:
    log, offline = a_world(predictable, seed=0)
    examples = ranking_examples(log, {"save": ("save",)}, offline, NegativesConfig(9), np.random.default_rng(0))
    with_positives = [one for one in examples if one.labels.any()]
    cut = int(0.8 * len(with_positives))
    config = a_config(offline.sizes, heads=1, recent_outputs=2, mlp=(16,))
    config = replace(config, heads=("save",))
    training = RankerTraining(mask=False, fit=FitConfig(steps=250, learning_rate=5e-3, warm_up=10, evaluate_every=250))
    requests = JoinedRequests.of(with_positives[:cut], offline)
    ranker, _ = train_ranker(config, training, requests, JoinedRequests.of([], offline))
    gains = []
    for one in with_positives[cut:]:
        scores = SplitRanker(ranker).probabilities(inputs_of(one, offline))[:, 0]
        gains += [1 / log2(1 + np.count_nonzero(scores >= mine)) for mine in scores[one.labels[:, 0] > 0]]
    return float(np.mean(gains))


def test_the_ranker_learns_a_predictable_world():
    assert learned_ndcg(predictable=True) > 0.65  # a random order has 0.45


def test_the_ranker_learns_nothing_from_noise():
    assert learned_ndcg(predictable=False) < 0.53


def test_the_served_order_is_judged_among_all_that_the_drawn_items_stand_for(monkeypatch):
    log = a_log(("u", "a", "save", 0))
    (one,) = examples_of(log)
    one = replace(
        one, candidates=id_keys(list("abcd")), labels=np.array([[1, 0], [0, 0], [0, 0], [0, 0]], np.float32),
        log_q=np.log(np.array([1, 0.5, 1, 0.25], np.float32)),
    )  # fmt: skip
    of_heads = np.array([[0.5, 0.1], [0.9, 0.1], [0.5, 0.1], [0.1, 0.9]], np.float32)
    monkeypatch.setattr(SplitRanker, "probabilities", lambda self, inputs: of_heads)
    requests = JoinedRequests.of([one], offline_features())
    # b, for two, is above a; c is equal; d, for four, is above only where "hide" counts for it
    assert served_ndcg(a_ranker(), requests, [1.0, 0.0]) == pytest.approx(1 / log2(1 + 2 + 0.5 + 1))
    assert served_ndcg(a_ranker(), requests, [1.0, 1.0]) == pytest.approx(1 / log2(1 + 6 + 0.5 + 1))


def test_requests_that_were_joined_once_are_batches_as_if_joined_now():
    log = a_log(*((f"u{n % 3}", f"i{n % 7}", "save", n) for n in range(30)))
    offline = offline_features()
    examples = examples_of(log, NegativesConfig(2))
    kept = JoinedRequests.of(examples, offline)
    rows = np.array([11, 0, 29, 4])
    wanted = joined([examples[row] for row in rows.tolist()], offline)
    for name, part in vars(kept.batch(rows)).items():
        assert part.equal(getattr(wanted, name)), name
    assert kept.inputs(11).digest() == inputs_of(examples[11], offline).digest()
    assert kept.lengths.tolist() == [min(SMALL.num_actions, len(one.state.history)) for one in examples]


def test_shown_lists_are_judged_by_the_mean_auc_of_the_heads_over_all_of_them(monkeypatch):
    log = a_log(("u", "a", "save", 0), ("u", "b", "save", 1), ("u", "c", "view", 2), ("u", "d", "view", 3))
    some = examples_of(log)
    logits = iter(torch.tensor([[0.9, 0.0], [0.1, 0.0], [0.5, 0.0], [0.0, 0.0]]).split(4))
    ranker = a_ranker()
    monkeypatch.setattr(ranker, "forward", lambda batch: next(logits))
    # of the four pairs of one that was saved and one that was not, b is below c; nothing was hidden: a head less
    assert mean_auc(ranker, JoinedRequests.of(some, offline_features())) == pytest.approx(3 / 4)


def test_label_weights_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"wanted \(2, 3\)"):
        RankerTraining(label_weights=((1.0, 1.0),)).label_matrix(2)


def test_the_padding_row_is_not_trained():
    log = a_log(*((f"u{n}", f"i{n % 7}", "save", n) for n in range(30)))
    training = RankerTraining(fit=FitConfig(steps=5, evaluate_every=5))
    requests = JoinedRequests.of(examples_of(log, NegativesConfig(4)), offline_features())
    nothing = JoinedRequests.of([], offline_features())
    ranker, _ = train_ranker(a_config(mask_window_ms=HOUR_MS), training, requests, nothing)
    assert ranker.transact.actions.weight[0].eq(0).all()
