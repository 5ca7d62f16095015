"""How an explanation looks in a terminal."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from rich.text import Text

from rankstream.cli.views.feeds import duration_text, heads_text
from rankstream.cli.views.table import Cell, Facts, Table, console, names, numbers
from rankstream.evaluation.audit.explanation import ExplainedItem, Explanation, KnownAction
from rankstream.evaluation.audit.occlusion import NO_ACTIONS, NO_ATTRIBUTES, NO_PROFILE, NO_USER_VECTOR, Effect

BAR = 4  # characters of the longest bar
SHOWN_IDS = 8
SHOWN_MISSED = 5


def show(explanation: Explanation, actions: int) -> None:
    """Print it, with the ``actions`` that mattered most."""
    screen = console()
    for part in parts_of(explanation, actions):
        screen.print(part)


def parts_of(explanation: Explanation, actions: int) -> Iterator[Text | Facts | Table]:
    """Yield what is shown of an explanation, from the whole to the parts."""
    request, user = str(explanation.request_id), str(explanation.user_id)
    yield Text.assemble("request ", (request, "bold"), " of user ", (user, "bold"))
    yield _head(explanation)
    yield _scores(explanation)
    if explanation.items and (explanation.history or explanation.user_vector.found):
        yield _effects(explanation, actions)
    if explanation.missed:
        yield _missed(explanation)


def _head(explanation: Explanation) -> Facts:
    """Return what was known, and whether this is what was served."""
    facts: dict[str, Cell] = {
        "ranked": f"{_time(explanation.at_ms)}, model {explanation.model_version}",
        "actions": _actions_line(explanation),
        "sessions": _sessions_line(explanation),
        "user vector": _vector_line(explanation),
        "item counts": _counts_line(explanation),
        "item vectors": _item_vectors_line(explanation),
        "candidates": _candidates_line(explanation),
    }
    if explanation.policy is not None:
        facts["order"] = f"explored by {explanation.policy}; ranks below are by score"
    if explanation.identical:
        facts["recomputed"] = Text("identical to what was served, to the bit", "green")
    else:
        facts["recomputed"] = Text(f"not what was served: {explanation.differs}", "bold red")
    return Facts(facts)


def _time(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _actions_line(explanation: Explanation) -> str:
    history = explanation.history
    if not history:
        return "none known: an unknown user" if not explanation.state_actions else "none had happened yet"
    read = sum(action.read_by_encoder for action in history)
    unread = "" if read == len(history) else f", {read} of them read by the encoder"
    return (
        f"{len(history)} known{unread}; newest {duration_text(history[0].age_ms)} old, oldest "
        f"{duration_text(history[-1].age_ms)}; {explanation.state_actions:,} ever (offset {explanation.state_offset:,} "
        f"of partition {explanation.partition})"
    )


def _sessions_line(explanation: Explanation) -> str:
    sessions = explanation.sessions
    opened = f"an open one of {sessions.open_items} items" if sessions.open_items else "none open"
    older = "; older ones in the recurrent state" if sessions.folded else ""
    return f"{opened}, {sessions.closed_in_history} before it{older}"


def _vector_line(explanation: Explanation) -> str:
    vector = explanation.user_vector
    if vector.version is None:
        return "no table was served"
    age = "" if vector.age_ms is None else f", {duration_text(vector.age_ms)} old"
    return f"{'found' if vector.found else 'not found'} in version {vector.version}{age}"


def _counts_line(explanation: Explanation) -> str:
    counts = explanation.item_counts
    whose = "the bundle's own" if counts.version is None else f"version {counts.version}"
    return f"{whose}, {duration_text(counts.age_ms)} old"


def _item_vectors_line(explanation: Explanation) -> str:
    vectors = explanation.item_vectors
    whose = "the bundle's own" if vectors.version is None else f"version {vectors.version}"
    return f"{whose}, {duration_text(vectors.age_ms)} old"


def _candidates_line(explanation: Explanation) -> str:
    unknown = explanation.unknown_items
    if not unknown:
        return f"{explanation.candidates:,}, all in the item table"
    more = ", ..." if len(unknown) > SHOWN_IDS else ""
    named = ", ".join(map(str, unknown[:SHOWN_IDS])) + more
    return f"{explanation.candidates:,}, {len(unknown):,} not in the item table (zero vectors): {named}"


def _scores(explanation: Explanation) -> Table:
    """Show each item's score as the sum that it is."""
    terms = explanation.items[0].terms if explanation.items else ()
    served = numbers("served at") if explanation.policy is not None else []
    sources = names("proposed by") if any(item.source is not None for item in explanation.items) else []
    rows: list[list[Cell]] = []
    for item in explanation.items:
        cells = [Text(f"{term.probability:.4f}  ").append(_signed(term.term)) for term in item.terms]
        name = Text(str(item.item_id) if item.in_item_table else f"{item.item_id} (unknown)", "bold")
        more: list[Cell] = [_served(item)] if served else []
        more += [_proposed_by(item)] if sources else []
        rows.append([f"{item.rank}.", name, f"{item.score:.4f}", *cells, *more])
    weights = numbers(*(f"{term.head} x {term.weight:g}" for term in terms))
    columns = [*numbers("rank"), *names("item"), *numbers("score"), *weights, *served, *sources]
    heads = heads_text([term.head for term in terms], explanation.calibrated or ())
    return Table(columns, rows, "score = sum of each head x its weight", [heads])


def _served(item: ExplainedItem) -> Text:
    if item.served_rank is None:
        return Text("-", "dim")
    propensity = "" if item.propensity is None else f"  p {item.propensity:.3f}"
    return Text(f"{item.served_rank}.{propensity}")


def _proposed_by(item: ExplainedItem) -> str:
    because = "" if item.because_of is None else f", because of {item.because_of}"
    return f"{item.source or ''}{because}"


def _signed(value: float, decimals: int = 4) -> Text:
    return Text(f"{value:+.{decimals}f}", "green" if value > 0 else "red" if value < 0 else "dim")


Effects = Sequence[dict[int | str, Effect]]  # of each explained item


def _effects(explanation: Explanation, maximum: int) -> Table:
    """Show what leaving things out does to each item: first all actions and the user vector, then single actions."""
    effects = [{effect.of: effect for effect in item.effects} for item in explanation.items]
    largest = max((_strength(of, effects) for of in effects[0]), default=0.0)
    history = sorted(explanation.history, key=lambda action: -_strength(action.number, effects))
    rows: list[list[Cell]] = []
    for of in (one for one in (NO_ACTIONS, NO_USER_VECTOR, NO_ATTRIBUTES, NO_PROFILE) if one in effects[0]):
        rows.append(["", Text(of, "italic"), *_cells(of, explanation.items, effects, largest)])
    for action in history[:maximum]:
        cells = _cells(action.number, explanation.items, effects, largest)
        rows.append([duration_text(action.age_ms), _action(action), *cells])
    notes = []
    if history[maximum:]:
        rest = _strength(history[maximum].number, effects)
        notes = [f"{len(history[maximum:])} more actions changed these scores by {rest:.2g} at most"]
    items = names(*(f"{item.item_id}, rank {item.rank}" for item in explanation.items))
    title = "effect of each on the score, and the rank without it where that changes"
    return Table([*numbers("age"), *names("known"), *items], rows, title, notes)


def _action(action: KnownAction) -> Text:
    item = str(action.item_id) if action.in_item_table else f"{action.item_id} (unknown)"
    return Text.assemble(f"{action.action} ", (item, "bold"), (f" {action.surface or ''}", "dim"))


def _strength(of: int | str, effects: Effects) -> float:
    return max((abs(one[of].score or 0.0) for one in effects), default=0.0)


def _cells(of: int | str, items: Sequence[ExplainedItem], effects: Effects, largest: float) -> list[Text]:
    return [_cell(one[of], item, largest) for item, one in zip(items, effects, strict=True)]


def _cell(effect: Effect, item: ExplainedItem, largest: float) -> Text:
    """Draw one effect: its number, a bar, and the rank without it where that changes."""
    if effect.score is None:
        return Text("left out", "yellow")
    text = _signed(effect.score, 3 if largest >= 0.1 else 6)
    bar = "█" * round(BAR * abs(effect.score) / largest) if largest else ""
    text.append(f" {bar:<{BAR}}", text.style)
    return text if effect.rank_without == item.rank else text.append(f" {effect.rank_without}.", "bold")


def _missed(explanation: Explanation) -> Table:
    """Show what had happened by then but was still on its way."""
    missed = explanation.missed
    rows = []
    for one in missed[-SHOWN_MISSED:]:
        age, late = duration_text(explanation.at_ms - one.occurred_at_ms), duration_text(one.arrival_delay_ms)
        rows.append([age, one.action, str(one.item_id), late, f"{one.offset:,}"])
    columns = [*numbers("age"), *names("action", "item"), *numbers("in Kafka after", "offset")]
    title = f"{len(missed)} had happened, but {'was' if len(missed) == 1 else 'were'} not known yet"
    return Table(columns, rows, title)
