"""One self-contained HTML page of paragraphs, tables and plots; knows nothing of what it reports."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankstream.metrics.drawing import DARK, GRID, HUES, INK, PAPER, SOFT, dark_style, svg_of

NO_BREAK = "\u00a0%"

# Colours of light paper; those of dark paper are their twins. ``metrics.drawing`` has the same pairs for plots.
STYLE = (
    f"""
:root {{ color-scheme: light dark; --ink: {INK}; --soft: {SOFT}; --line: {GRID}; --paper: {PAPER}; --mark: #f1f5fa;
  --good: {HUES[0]}; --bad: #b3261e }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: {DARK[INK]}; --soft: {DARK[SOFT]}; --line: {DARK[GRID]}; --paper: {DARK[PAPER]}; --mark: #1f2731;
    --good: {DARK[HUES[0]]}; --bad: #ff8a80 }}
{dark_style()}
}}
"""
    + """
* { box-sizing: border-box }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem;
  margin: 2.5rem auto; padding: 0 1.2rem; overflow-wrap: break-word; -webkit-text-size-adjust: 100% }
h1 { font-size: 1.7rem; line-height: 1.25; margin-bottom: .2rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
p.lead { color: var(--soft); margin-top: 0 } figcaption, footer { color: var(--soft); font-size: .86rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .38rem .6rem; border-bottom: 1px solid var(--line) }
th:first-child, td:first-child { text-align: left } thead th { color: var(--soft); font-weight: 600 }
td { vertical-align: top; white-space: nowrap } td:first-child { white-space: normal; min-width: 8rem }
.pairs td { white-space: normal } td small { display: block; color: var(--soft); font-weight: 400 }
.marked tbody tr:first-child td { background: var(--mark); font-weight: 600 }
.verdict { font-size: 1.12rem; border-left: 4px solid var(--good); background: var(--mark); padding: .7rem 1rem;
  margin: 1.2rem 0 } .verdict p { margin: .3rem 0 } .verdict p + p { font-size: 1rem; color: var(--soft) }
.warning { border-left: 4px solid var(--bad); background: var(--mark); padding: .5rem 1rem; margin: 1.2rem 0 }
.wide { overflow-x: auto } dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .25rem 1.2rem;
  font-size: .9rem } dt { color: var(--soft) } dd { margin: 0; overflow-wrap: anywhere }
figure { margin: 1.4rem 0 } figure svg { display: block; width: 100%; height: auto } .on-a-phone { display: none }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: .8rem } code { font-size: .9em }
@media (max-width: 600px) {
  body { margin: 1rem auto; padding: 0 1rem } h1 { font-size: 1.4rem } .on-a-screen { display: none }
  .on-a-phone { display: block } dl { display: block } dd { margin: 0 0 .5rem } th, td { padding: .38rem .45rem }
  .wide th:first-child, .wide td:first-child { position: sticky; left: 0; background: var(--paper) }
  .wide .marked tbody tr:first-child td:first-child { background: var(--mark) } }
"""
)


@dataclass(frozen=True)
class Heading:
    """Start a section."""

    text: str

    def html(self) -> str:
        """Return the element."""
        return f"<h2>{html.escape(self.text)}</h2>"


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str

    def html(self) -> str:
        """Return the element."""
        return f"<p>{html.escape(self.text)}</p>"


@dataclass(frozen=True)
class Verdict:
    """The conclusion: the first sentence large, the others under it."""

    sentences: Sequence[str]

    def html(self) -> str:
        """Return the element."""
        return f'<div class="verdict">{_paragraphs(self.sentences)}</div>'


@dataclass(frozen=True)
class Warnings:
    """What makes the metrics mean less than they seem to."""

    sentences: Sequence[str]

    def html(self) -> str:
        """Return the element."""
        return f'<div class="warning" role="alert">{_paragraphs(self.sentences)}</div>'


def _paragraphs(sentences: Sequence[str]) -> str:
    return "".join(f"<p>{html.escape(sentence.replace(' %', NO_BREAK))}</p>" for sentence in sentences)


@dataclass(frozen=True)
class Facts:
    """Names and what they stand for."""

    facts: Mapping[str, str]

    def html(self) -> str:
        """Return the element."""
        rows = (f"<dt>{html.escape(name)}</dt><dd>{html.escape(fact)}</dd>" for name, fact in self.facts.items())
        return f"<dl>{''.join(rows)}</dl>"


@dataclass(frozen=True)
class Table:
    """Rows under a head; what follows a line break in a cell is set smaller, below."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    marked: bool = False  # is the first row the one that matters?

    def html(self) -> str:
        """Return the element."""
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in self.head)
        rows = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in self.rows)
        kind = ' class="marked"' if self.marked else ' class="pairs"' if len(self.head) == 2 else ""
        table = f"<table{kind}><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        return f'<div class="wide" tabindex="0">{table}</div>'


def _cell(text: str) -> str:
    first, _, below = text.partition("\n")
    small = f"<small>{html.escape(below)}</small>" if below else ""
    return f"<td>{html.escape(first)}{small}</td>"


@dataclass(frozen=True)
class Plot:
    """A matplotlib figure, drawn into the page as SVG; ``narrow`` is the same for a phone."""

    figure: Any  # matplotlib.figure.Figure
    caption: str
    narrow: Any = None

    def html(self) -> str:
        """Return the element."""
        drawn = svg_of(self.figure, self.caption)
        if self.narrow is not None:
            narrow = svg_of(self.narrow, self.caption, "narrow")
            drawn = f'<div class="on-a-screen">{drawn}</div><div class="on-a-phone">{narrow}</div>'
        return f"<figure>{drawn}<figcaption>{html.escape(self.caption)}</figcaption></figure>"


Block = Heading | Text | Verdict | Warnings | Facts | Table | Plot


def page(title: str, lead: str, blocks: Sequence[Block], foot: str) -> str:
    """Return the whole page; it needs no network and no other file."""
    body = "\n".join(block.html() for block in blocks)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n'
        f'<body><h1>{html.escape(title)}</h1><p class="lead">{html.escape(lead)}</p>\n{body}\n'
        f"<footer>{html.escape(foot)}</footer></body></html>\n"
    )
