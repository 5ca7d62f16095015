"""What the commands of training share: a recipe made of the log's kind, settings and flags. Imports torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from rankstream.cli.errors import Refusal
from rankstream.cli.options.train_settings import TrainSettings
from rankstream.events.log_kind import LogKind
from rankstream.features.actions import Vocabulary
from rankstream.models.recipes.bundle import BundleRecipe, RankerRecipe, recipe_for
from rankstream.models.recipes.encoders import EncoderRecipe
from rankstream.models.recipes.paper_sizes import paper_sizes
from rankstream.models.training.distributed import team_size
from rankstream.models.training.loop import FitConfig
from rankstream.models.training.precision import Precision, best_precision

SIZES: dict[str, Callable[[BundleRecipe], BundleRecipe]] = {"demo": lambda recipe: recipe, "paper": paper_sizes}


def recipe_of(
    log: LogKind,
    vocabulary: Vocabulary,
    settings: TrainSettings,
    device: torch.device,
    positives: Sequence[str] = (),
    negatives: Sequence[str] = (),
    utility: Mapping[str, float] | None = None,
) -> BundleRecipe:
    """Return the log's recipe with these settings and flags. Raises ``Refusal`` for actions that the log lacks."""
    have = ", ".join(vocabulary.actions)
    for name in (*positives, *negatives):
        if name not in vocabulary.actions:
            raise Refusal(f"the log has no action {name}; it has {have}")
    positives = tuple(positives) or log.positives or _only_action(vocabulary, negatives)
    log = replace(log, positives=positives, negatives=tuple(negatives) or log.negatives)
    if not log.positives:
        raise Refusal(f"name the positive actions with --positive; the log has the actions {have}")
    recipe = recipe_for(log, vocabulary)
    if utility:
        recipe = replace(recipe, ranker=replace(recipe.ranker, utility=weights_for(recipe.ranker.heads, utility)))
    return with_settings(recipe, settings, device)


def _only_action(vocabulary: Vocabulary, negatives: Sequence[str]) -> tuple[str, ...]:
    """Return the one action of a log that has no other, which is what there is to predict; else nothing."""
    return vocabulary.actions if len(vocabulary.actions) == 1 and not negatives else ()


def with_settings(recipe: BundleRecipe, settings: TrainSettings, device: torch.device) -> BundleRecipe:
    """Return the recipe with the sizes and the schedule of the settings."""
    recipe = SIZES[settings.size](recipe)
    return replace(
        recipe,
        encoders=_encoders(recipe.encoders, settings, device),
        ranker=_ranker(recipe.ranker, settings, device),
        threads=settings.threads,
    )


def weights_for(heads: Mapping[str, object], utility: Mapping[str, float]) -> dict[str, float]:
    """Return a weight for each head, 0 where none is given. Raises ``Refusal`` for an unknown head."""
    for name in utility:
        if name not in heads:
            raise Refusal(f"no head predicts {name}; --utility weighs {', '.join(heads)}")
    return {head: utility.get(head, 0.0) for head in heads}


def _encoders(recipe: EncoderRecipe, given: TrainSettings, device: torch.device) -> EncoderRecipe:
    recipe = replace(
        recipe,
        items=replace(recipe.items, **_given(dim=given.item_dim), seed=given.seed),
        pinnerformer=replace(
            recipe.pinnerformer,
            **_given(users=given.batch),
            fit=_fit(recipe.pinnerformer.fit, given, given.user_steps, device),
        ),
        hiertcn=replace(
            recipe.hiertcn,
            **_given(users=given.batch),
            fit=_fit(recipe.hiertcn.fit, given, given.session_steps, device),
        ),
        **_given(
            user_dim=given.user_dim,
            user_hidden=given.user_width,
            user_layers=given.user_layers,
            user_actions=given.user_actions,
            session_hidden=given.session_width,
            session_state=given.session_state,
        ),
    )
    if recipe.user_hidden % recipe.user_heads:
        raise Refusal(f"--user-width {recipe.user_hidden} must be a multiple of {recipe.user_heads} attention heads")
    if given.session_width is not None:
        channels = (given.session_width,) * len(recipe.session_channels)
        recipe = replace(recipe, session_channels=channels)
    return recipe


def _ranker(recipe: RankerRecipe, given: TrainSettings, device: torch.device) -> RankerRecipe:
    training = replace(
        recipe.training,
        **_given(requests=given.batch),
        fit=_fit(recipe.training.fit, given, given.ranker_steps, device),
    )
    recipe = replace(
        recipe,
        seed=given.seed,
        beside_lists=given.beside_lists,
        training=training,
        **_given(num_actions=given.num_actions, layers=given.layers),
    )
    return recipe if given.width is None else replace(recipe, mlp=(given.width, given.width // 2))


def _fit(fit: FitConfig, given: TrainSettings, steps: int | None, device: torch.device) -> FitConfig:
    fit = _with_length(fit, given, steps)
    return replace(
        fit,
        accumulation_steps=accumulation_steps_of(given),
        precision=best_precision(device) if given.precision == "auto" else Precision(given.precision),
        compiled=given.compiled,
        seed=given.seed,
        **_given(learning_rate=given.learning_rate, patience=given.patience),
    )


def _with_length(fit: FitConfig, given: TrainSettings, steps: int | None) -> FitConfig:
    """Return the config with so many steps if they were given, else with the epochs that were, else as it is."""
    if steps is None and (given.epochs is not None or fit.epochs is not None):
        return replace(fit, epochs=given.epochs or fit.epochs, **_given(evaluate_every=given.evaluate_every))
    steps = steps or fit.steps
    return replace(
        fit,
        epochs=None,
        steps=steps,
        patience=fit.patience if fit.epochs is None else FitConfig.patience,
        warm_up=min(fit.warm_up, max(1, steps // 5)),
        evaluate_every=given.evaluate_every or min(fit.evaluate_every, steps),
    )


def accumulation_steps_of(given: TrainSettings) -> int:
    """Return the batches of a step, by default one a process. Raises ``Refusal`` if processes can't share them."""
    processes = max(given.processes, team_size())
    steps = given.accumulation_steps or processes
    if steps % processes:
        raise Refusal(f"--accumulation-steps {steps} can't be shared among {processes} processes; give a multiple")
    return steps


def _given(**values: Any) -> dict[str, Any]:
    """Return the values that were given; None was not."""
    return {name: value for name, value in values.items() if value is not None}
