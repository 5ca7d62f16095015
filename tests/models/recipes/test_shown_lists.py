"""A recipe trained on shown lists, in a world in which it is known what is taken of a list, and how often."""

from dataclasses import replace

import numpy as np
import pytest

from rankstream.events.impressions import NO_LIST, impressions_of
from rankstream.events.log import event_log
from rankstream.events.log_kind import LogKind
from rankstream.features.actions import Vocabulary
from rankstream.metrics.probabilities import auc
from rankstream.models.ranker.calibration import held_out, sigmoid
from rankstream.models.ranker.impressions import impression_examples
from rankstream.models.ranker.joined import JoinedRequests
from rankstream.models.ranker.training_join import as_of_its_day, offline_features
from rankstream.models.recipes.bundle import recipe_for
from rankstream.models.recipes.train import train_models
from rankstream.models.training.loop import FitConfig

DAY_MS, MINUTE_MS = 86_400_000, 60_000
START_MS = 1_700_006_400_000
USERS, ITEMS, DAYS, OF_KIND, OF_OTHER = 40, 24, 12, 0.7, 0.05
KIND = LogKind("world", ("click",), exposures=True, encoders_share=0.5)


def a_world():
    """Lists of six, three a day; a user clicks 70 % of the items of its kind, 5 % of others: a half of them each."""
    rng = np.random.default_rng(0)
    seen, done = [], []
    for day in range(DAYS):
        for user in range(USERS):
            for hour in range(3):
                at_ms = START_MS + day * DAY_MS + hour * 60 * MINUTE_MS + user
                for item in rng.choice(ITEMS, 6, replace=False).tolist():
                    seen.append((user, item, at_ms))
                    if rng.random() < (OF_KIND if item % 2 == user % 2 else OF_OTHER):
                        done.append((user, item, at_ms + MINUTE_MS))
    users, items, times = (np.array(one, np.int64) for one in zip(*seen, strict=True))
    none = np.zeros(len(users), np.int64)
    lists = impressions_of(users, items, times, none, none - 1, np.full(len(users), NO_LIST, np.uint64))
    users, items, times = (np.array(one, np.int64) for one in zip(*done, strict=True))
    return replace(
        event_log(Vocabulary(("click",)), users, items, np.ones(len(users), np.int64), times), impressions=lists
    )


def brief(recipe):
    """The recipe, but for encoders that are trained for a moment: what is looked at is the ranker on top of them."""
    fit = FitConfig(steps=20, warm_up=5)
    pinnerformer, hiertcn = (replace(one, fit=fit) for one in (recipe.encoders.pinnerformer, recipe.encoders.hiertcn))
    return replace(recipe, encoders=replace(recipe.encoders, pinnerformer=pinnerformer, hiertcn=hiertcn))


@pytest.mark.slow
def test_a_ranker_of_shown_lists_knows_what_is_taken_and_how_often(tmp_path):
    log = a_world()
    until_ms = START_MS + (DAYS - 2) * DAY_MS
    models = train_models(log, brief(recipe_for(KIND, log.vocabulary)), tmp_path, until_ms=until_ms)
    offline = offline_features(log, models, models.ranker.config.sizes, until_ms)
    later = [as_of_its_day(one) for one in impression_examples(log, models.about.heads, offline, since_ms=until_ms)]
    assert len(later) == USERS * 2 * 3
    found = held_out(models.ranker, JoinedRequests.of(later, offline))
    probabilities, labels = sigmoid(found.logits[:, 0]), found.labels[:, 0]
    clicks_of_kind, others_of_kind = OF_KIND / (OF_KIND + OF_OTHER), (1 - OF_KIND) / (2 - OF_KIND - OF_OTHER)
    best = 0.5 * (clicks_of_kind + 1 - others_of_kind)  # 0.85: nothing but the kind tells; ties count half
    assert 0.8 < auc(probabilities, labels) < best + 0.02
    assert models.about.calibrated == ("click",)
    assert abs(probabilities.mean() - labels.mean()) < 0.05
    assert abs(labels.mean() - (OF_KIND + OF_OTHER) / 2) < 0.02
