"""One self-contained HTML page of paragraphs, tables and plots; knows nothing of what it reports."""

import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --line: #d9dee5; --paper: #ffffff; --mark: #f4f7fb }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6eaf0; --soft: #9aa6b5; --line: #333d4a; --paper: #14181e; --mark: #1c232c }
  figure img { background: #fff; border-radius: 6px } }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem;
  margin: 2.5rem auto; padding: 0 1.2rem }
h1 { font-size: 1.7rem; margin-bottom: .2rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
p.lead { color: var(--soft); margin-top: 0 } figcaption, footer { color: var(--soft); font-size: .86rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .38rem .6rem; border-bottom: 1px solid var(--line) }
th:first-child, td:first-child { text-align: left } thead th { color: var(--soft); font-weight: 600 }
.marked tbody tr:first-child td { background: var(--mark); font-weight: 600 }
figure { margin: 1.4rem 0 } figure svg { width: 100%; height: auto; background: #fff; border-radius: 6px }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: .8rem } code { font-size: .9em }
"""


@dataclass(frozen=True)
class Heading:
    """Start a section."""

    text: str

    def html(self) -> str:
        """Give the element."""
        return f"<h2>{html.escape(self.text)}</h2>"


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str

    def html(self) -> str:
        """Give the element."""
        return f"<p>{html.escape(self.text)}</p>"


@dataclass(frozen=True)
class Table:
    """Rows under a head."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    marked: bool = False  # is the first row the one that matters?

    def html(self) -> str:
        """Give the element."""
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in self.head)
        rows = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows)
        kind = ' class="marked"' if self.marked else ""
        return f"<table{kind}><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


@dataclass(frozen=True)
class Plot:
    """A matplotlib figure, drawn into the page as SVG."""

    figure: Any  # matplotlib.figure.Figure
    caption: str

    def html(self) -> str:
        """Give the element."""
        drawn = io.StringIO()
        self.figure.savefig(drawn, format="svg", bbox_inches="tight", metadata={"Date": None})
        svg = drawn.getvalue()
        return f"<figure>{svg[svg.index('<svg') :]}<figcaption>{html.escape(self.caption)}</figcaption></figure>"


Block = Heading | Text | Table | Plot


def page(title: str, lead: str, blocks: Sequence[Block], foot: str) -> str:
    """Give the whole page; it needs no network and no other file."""
    body = "\n".join(block.html() for block in blocks)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n'
        f'<body><h1>{html.escape(title)}</h1><p class="lead">{html.escape(lead)}</p>\n{body}\n'
        f"<footer>{html.escape(foot)}</footer></body></html>\n"
    )
