"""The papers' sizes, for large logs and a GPU; the demo's are the defaults of the recipes."""

from dataclasses import replace

from rankstream.models.recipes.bundle import BundleRecipe, RankerRecipe
from rankstream.models.recipes.encoders import EncoderRecipe
from rankstream.models.training.loop import FitConfig

DAY_MS = 86_400_000


def paper_sizes(recipe: BundleRecipe) -> BundleRecipe:
    """Return the recipe at the papers' sizes; what they do not publish (steps, rates, the MLP) is chosen here."""
    return replace(recipe, encoders=_paper_encoders(recipe.encoders), ranker=_paper_ranker(recipe.ranker))


def _paper_encoders(recipe: EncoderRecipe) -> EncoderRecipe:
    """PinnerFormer's final sizes (KDD'22, 4.3) and HierTCN's of the Pinterest runs."""
    users = replace(
        recipe.pinnerformer,
        users=128,
        positions=32,
        in_batch=5000,
        uniform=8192,
        fit=FitConfig(steps=20_000, learning_rate=1e-3, warm_up=1000, evaluate_every=500, checkpoint_every=500),
    )
    sessions = replace(
        recipe.hiertcn,
        fit=FitConfig(steps=20_000, learning_rate=1e-3, warm_up=500, evaluate_every=500, checkpoint_every=500),
    )
    return replace(
        recipe,
        user_dim=256,
        user_hidden=768,
        user_layers=6,
        user_heads=8,
        user_actions=256,
        session_hidden=128,
        session_state=128,
        session_state_layers=2,
        session_channels=(128, 128, 128, 128),
        seconds=None,
        pinnerformer=users,
        hiertcn=sessions,
    )


def _paper_ranker(recipe: RankerRecipe) -> RankerRecipe:
    """TransAct's sizes (KDD'23, 4.1); 12,000 candidates a batch at 0.0048 are fewer here, at a smaller rate."""
    training = replace(
        recipe.training,
        requests=512,
        fit=FitConfig(steps=30_000, learning_rate=1e-3, warm_up=5000, evaluate_every=1000, checkpoint_every=1000),
    )
    return replace(
        recipe,
        num_actions=100,
        action_dim=32,
        recent_outputs=10,
        mask_window_ms=DAY_MS,
        layers=2,
        seconds=None,
        cross_rank=None,
        mlp=(1024, 512, 256),
        training=training,
    )
