"""How an explanation looks in a terminal."""

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from rankstream.cli.views.feeds import duration_text
from rankstream.evaluation.audit.explanation import ExplainedItem, Explanation, KnownAction
from rankstream.evaluation.audit.occlusion import NO_ACTIONS, NO_USER_VECTOR, Effect

BAR = 4  # characters of the longest bar
EFFECT = 16  # characters of an effect, so that three of them fit into 80 columns
SHOWN_IDS = 8
SHOWN_MISSED = 5


def show(explanation: Explanation, actions: int) -> None:
    """Print it, with the ``actions`` that mattered most."""
    console = Console(highlight=False)
    console.print(_head(explanation))
    console.print(_scores(explanation))
    if explanation.items and (explanation.history or explanation.user_vector.found):
        console.print(_effects(explanation, actions))
    if explanation.missed:
        console.print(_missed(explanation))


def _head(explanation: Explanation) -> Panel:
    """Return what was known, and whether this is what was served."""
    lines = Table.grid(padding=(0, 2))
    lines.add_column(style="dim")
    lines.add_column()
    lines.add_row("ranked", f"{_time(explanation.at_ms)}, model {explanation.model_version}")
    lines.add_row("actions", _actions_line(explanation))
    lines.add_row("sessions", _sessions_line(explanation))
    lines.add_row("user vector", _vector_line(explanation))
    lines.add_row("candidates", _candidates_line(explanation))
    if explanation.policy is not None:
        lines.add_row("order", f"explored by {explanation.policy}; ranks below are by score")
    if explanation.identical:
        lines.add_row("recomputed", Text("identical to what was served, to the bit", "green"))
    else:
        lines.add_row("recomputed", Text(f"not what was served: {explanation.differs}", "bold red"))
    title = Text.assemble(
        "request ", (str(explanation.request_id), "bold"), " of user ", (str(explanation.user_id), "bold")
    )
    return Panel(lines, title=title, title_align="left", expand=False)


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
    table = _table("score = sum of probability x weight")
    table.add_column("rank", justify="right")
    table.add_column("item", style="bold")
    table.add_column("score", justify="right")
    for term in terms:
        table.add_column(f"{term.head} x {term.weight:g}", justify="right")
    if explanation.policy is not None:
        table.add_column("served at", justify="right")
    for item in explanation.items:
        cells = [Text(f"{term.probability:.4f}  ").append(_signed(term.term)) for term in item.terms]
        if explanation.policy is not None:
            cells.append(_served(item))
        name = Text(str(item.item_id)) if item.in_item_table else Text(f"{item.item_id} (unknown)")
        table.add_row(f"{item.rank}.", name, f"{item.score:.4f}", *cells)
    return table


def _served(item: ExplainedItem) -> Text:
    if item.served_rank is None:
        return Text("-", "dim")
    propensity = "" if item.propensity is None else f"  p {item.propensity:.3f}"
    return Text(f"{item.served_rank}.{propensity}")


def _table(title: str) -> Table:
    return Table(
        title=title, title_justify="left", caption_justify="left", title_style="italic", box=SIMPLE_HEAD, padding=(0, 1)
    )


def _signed(value: float, decimals: int = 4) -> Text:
    return Text(f"{value:+.{decimals}f}", "green" if value > 0 else "red" if value < 0 else "dim")


Effects = Sequence[dict[int | str, Effect]]  # of each explained item


def _effects(explanation: Explanation, maximum: int) -> Table:
    """Show what leaving things out does to each item: first all actions and the user vector, then single actions."""
    effects = [{effect.of: effect for effect in item.effects} for item in explanation.items]
    largest = max((_strength(of, effects) for of in effects[0]), default=0.0)
    history = sorted(explanation.history, key=lambda action: -_strength(action.number, effects))
    table = _table("effect of each on the score, and the rank without it where that changes")
    table.add_column("age", justify="right", no_wrap=True, min_width=8)
    table.add_column("known", max_width=30, min_width=8)
    for item in explanation.items:
        table.add_column(f"{item.item_id}, rank {item.rank}", no_wrap=True, min_width=EFFECT)
    for of in (NO_ACTIONS, NO_USER_VECTOR):
        cells = _cells(of, explanation.items, effects, largest)
        table.add_row("", Text(of, "italic"), *cells, end_section=of is NO_USER_VECTOR)
    for action in history[:maximum]:
        cells = _cells(action.number, explanation.items, effects, largest)
        table.add_row(duration_text(action.age_ms), _action(action), *cells)
    if history[maximum:]:
        rest = _strength(history[maximum].number, effects)
        table.caption = f"{len(history[maximum:])} more actions changed these scores by {rest:.2g} at most"
    return table


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
    table = _table(f"{len(missed)} had happened, but {'was' if len(missed) == 1 else 'were'} not known yet")
    for name in ("age", "action", "item", "in Kafka after", "offset"):
        table.add_column(name, justify="left" if name in ("action", "item") else "right")
    for one in missed[-SHOWN_MISSED:]:
        age, late = duration_text(explanation.at_ms - one.occurred_at_ms), duration_text(one.arrival_delay_ms)
        table.add_row(age, one.action, Text(str(one.item_id)), late, f"{one.offset:,}")
    return table
