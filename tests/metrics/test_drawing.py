"""Plots can be read on white and on dark paper, by the colour-blind, by those who search and by those who listen."""

import itertools
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from rankstream.metrics.drawing import (
    DARK,
    GREYS,
    GRID,
    HUES,
    INK,
    PAPER,
    SOFT,
    contrast,
    dark_style,
    drawing,
    figure,
    legend_above,
    name_rows,
    svg_of,
)

TEXTS = (INK, SOFT)
MARKS = (*HUES, *GREYS)
# Machado, Oliveira and Fernandes 2009, severity 1.0: linear RGB as the colour-blind see it.
EYES = {
    "full colour": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
LEAST_DISTANCE = 14.0  # CIE76; 2.3 is just noticeable


def lab_of(colour: str, eyes: np.ndarray) -> np.ndarray:
    """A colour in CIELAB (D65), as these eyes see it."""
    rgb = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    seen = np.clip(eyes @ np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4), 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ seen / np.array([0.9505, 1.0, 1.089])
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize(("one", "other", "wanted"), [("#000000", "#ffffff", 21.0), ("#777777", "#ffffff", 4.48)])
def test_contrast_is_that_of_wcag(one: str, other: str, wanted: float):
    assert contrast(one, other) == pytest.approx(wanted, abs=0.01)
    assert contrast(other, one) == contrast(one, other)


@pytest.mark.parametrize("paper", ["light", "dark"])
def test_letters_have_a_contrast_of_seven_and_marks_of_three(paper: str):
    on = {ink: ink if paper == "light" else DARK[ink] for ink in DARK}
    assert [ink for ink in TEXTS if contrast(on[ink], on[PAPER]) < 7] == []
    assert [ink for ink in MARKS if contrast(on[ink], on[PAPER]) < 3] == []


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("paper", ["light", "dark"])
def test_series_keep_apart_for_everybody(paper: str, eyes: str):
    seen = [lab_of(ink if paper == "light" else DARK[ink], EYES[eyes]) for ink in (*HUES, GREYS[0])]
    assert min(np.linalg.norm(one - other) for one, other in itertools.combinations(seen, 2)) > LEAST_DISTANCE


@pytest.fixture
def drawn() -> Any:
    pytest.importorskip("matplotlib", reason="plots need the demo extra")
    drawn, axes = figure(4, 3)
    for colour in MARKS:
        axes.plot([0, 1], [0, 1], "o--", color=colour, label=f"series {colour}")
    axes.set_title("a title")
    name_rows(axes, ["first <row>", "second"], narrow=True)
    legend_above(drawn, axes)
    return drawn


def test_every_ink_of_a_plot_has_a_twin_on_dark_paper(drawn: Any):
    used = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", svg_of(drawn, "a plot")))
    assert {*MARKS, INK, SOFT, GRID, PAPER} == used
    assert [ink for ink in used if f'[style*="fill: {ink}"]' not in dark_style()] == []


def test_texts_of_a_plot_are_texts(drawn: Any):
    svg = svg_of(drawn, 'what "is" shown')
    root = ElementTree.fromstring(svg)
    texts = ["".join(one.itertext()) for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"first <row>", "second", "a title"} <= set(texts)
    assert (root.get("role"), root.get("aria-label")) == ("img", 'what "is" shown')


def test_a_plot_is_drawn_to_the_byte_each_time(drawn: Any):
    assert svg_of(drawn, "a plot") == svg_of(drawn, "a plot")


def test_a_file_follows_the_readers_colour_scheme_by_itself(tmp_path: Path):
    pytest.importorskip("matplotlib", reason="plots need the demo extra")
    with drawing(tmp_path / "new" / "plot.svg", "a plot", 3, 2) as axes:
        axes.plot([1, 2], [3, 4], color=HUES[0])
    text = (tmp_path / "new" / "plot.svg").read_text()
    assert ElementTree.fromstring(text) is not None
    assert "prefers-color-scheme: dark" in text
    assert f"stroke: {HUES[0]}" in text  # what a viewer without stylesheets shows


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "docs" / "plots").glob("*.svg")), ids=lambda p: p.name
)
def test_plots_of_the_documentation_are_of_this_kind(path: Path):
    text = path.read_text()
    assert "prefers-color-scheme: dark" in text
    assert set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", text)) <= {*DARK, *DARK.values()}
    widest_pt = 864 if path.name == "dashboard.svg" else 360  # legible on a phone; a dashboard wants a screen
    assert float(re.search(r'width="([\d.]+)pt"', text)[1]) <= widest_pt
