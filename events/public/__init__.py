"""Public logs as they are published, each in one file of its own that defines ``LOG``; this one finds them.

A file of text without a heading is recognised by its first rows, any other one by the names of its columns.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pkgutil import iter_modules

from rankstream.events.public.batches import Form, PublicLog
from rankstream.events.readers.text import Layout

PLAINLY_OF = 0.8  # share of the first rows without a heading that must look like the published ones
NEVER = "action"  # no public log has a column of this name


def _found() -> Iterator[PublicLog]:
    for module in iter_modules(__path__):
        log = getattr(import_module(f"{__name__}.{module.name}"), "LOG", None)
        if isinstance(log, PublicLog):
            yield log


PUBLIC: dict[str, PublicLog] = {log.kind.name: log for log in _found()}


def published_as(layout: Layout, kind: str | None = None) -> tuple[str, Form, Layout] | None:
    """Return the public log that a file is, its form, and how that is laid out; None if it is none, or not ``kind``.

    Of several that fit, the one with the most columns.
    """
    names = [kind] if kind in PUBLIC else list(PUBLIC)
    fits = [(name, form, as_form) for name in names for form in PUBLIC[name].forms if (as_form := _as(layout, form))]
    if not fits and kind in PUBLIC and (form := PUBLIC[kind].like(layout.columns)) is not None:
        return kind, form, layout
    return max(fits, key=lambda fit: len(fit[1].columns), default=None)


def _as(layout: Layout, form: Form) -> Layout | None:
    """Return a file's layout as one of this form; None if it isn't."""
    if form.ending or form.fields:
        return _without_names(layout, form)
    bare = tuple(name.partition(":")[0] for name in layout.columns)  # RecBole writes user_id:token
    if NEVER in bare or not set(form.columns) <= set(bare):
        return None
    return replace(layout, columns=bare) if layout.type == "text" else layout


def _without_names(layout: Layout, form: Form) -> Layout | None:
    if form.ending:
        return layout if form.ending in [suffix.lower() for suffix in layout.path.suffixes] else None
    rows = layout.first_rows
    if layout.columns or layout.delimiter not in form.delimiters or not rows:
        return None
    patterns = [re.compile(pattern, re.DOTALL) for _, pattern in form.fields]
    like = [len(row) == len(patterns) and all(map(re.Pattern.fullmatch, patterns, row)) for row in rows]
    if sum(like) < PLAINLY_OF * len(rows):
        return None
    return replace(layout, columns=tuple(name for name, _ in form.fields), quoted=layout.quoted and form.quoted)
