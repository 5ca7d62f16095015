import re

import pytest

from rankstream.evaluation.html_page import Heading, Plot, Table, Text, page


def test_a_page_stands_alone_and_escapes_what_it_is_given():
    text = page("T & <T>", "lead", [Heading("a<b"), Text("x"), Table(["n"], [["<script>"]])], "foot")
    assert "<script>" not in text
    assert "T &amp; &lt;T&gt;" in text
    assert not re.search(r'(src|href)="http', text)


def test_a_plot_is_drawn_into_the_page():
    figures = pytest.importorskip("matplotlib.figure", reason="plots need the demo extra")
    figure = figures.Figure()
    figure.subplots().plot([1, 2], [3, 4])
    text = page("t", "l", [Plot(figure, "two points")], "f")
    assert "<svg" in text
    assert "two points" in text
