"""The reports as a browser shows them: on a phone nothing runs off the page, and in the dark all can be read."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rankstream.cli.demo.report import write_report as write_demo_report
from rankstream.metrics.drawing import DARK
from tests.builders.browser import Page, browser, find_browser
from tests.cli.test_demo_parts import FACTS, a_board
from tests.evaluation.replay.test_report import all_in_one, write_report

PHONE, SCREEN = 360, 1000  # CSS pixels
SMALLEST_PX = 10.0  # of letters
SHOWN = ("replay", "demo")

# Relative luminance and contrast as in WCAG 2; colours come as rgb(r, g, b) or rgba(r, g, b, a).
JAVASCRIPT = """
const parts = text => text.match(/[\\d.]+/g).map(Number)
const clear = text => text === 'transparent' || (parts(text).length > 3 && parts(text)[3] === 0)
const luminance = rgb => rgb.slice(0, 3).map(part => part / 255)
  .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
  .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0)
const contrast = (one, other) => {
  const [low, high] = [luminance(parts(one)), luminance(parts(other))].sort((a, b) => a - b)
  return (high + 0.05) / (low + 0.05) }
const behind = element => {
  for (let one = element; one; one = one.parentElement) {
    const colour = getComputedStyle(one).backgroundColor
    if (!clear(colour)) return colour }
  return 'rgb(255, 255, 255)' }
const shown = element => element.getClientRects().length > 0
const says = element => [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim())
const all = [...document.body.querySelectorAll('*')].filter(shown)
"""


def in_page(body: str) -> str:
    """An expression whose value a function with this body returns."""
    return f"(() => {{ {JAVASCRIPT} {body} }})()"


FAINT = in_page("""
  return all.filter(says).map(one => [one.textContent.trim().slice(0, 40),
      contrast(one.closest('svg') ? getComputedStyle(one).fill : getComputedStyle(one).color, behind(one))])
    .filter(([text, found]) => found < 4.5)""")
SIZES = in_page("""
  const scale = one => Math.hypot(one.getScreenCTM().a, one.getScreenCTM().b)
  return all.filter(one => one.tagName === 'text' && says(one))
    .map(one => [one.textContent, parseFloat(getComputedStyle(one).fontSize) * scale(one)])""")
OVER = in_page("""
  const right = document.documentElement.clientWidth + 1
  return all.filter(one => !one.closest('.wide table') && one.getBoundingClientRect().right > right)
    .map(one => one.tagName + ' ' + one.textContent.slice(0, 40))""")
COLOURS = in_page("""
  const drawn = all.filter(one => one.closest('svg') && one.tagName !== 'svg' && one.tagName !== 'g')
  return [...new Set(drawn.flatMap(one => [getComputedStyle(one).fill, getComputedStyle(one).stroke]))]""")
UNNAMED = "[...document.querySelectorAll('svg')].filter(one => !one.getAttribute('aria-label')).length"


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    command = find_browser()
    if command is None:
        pytest.skip("no Chromium is installed that could show the pages; RANKSTREAM_TEST_BROWSER=/path/to/one names it")
    pytest.importorskip("matplotlib", reason="plots need the demo extra")
    with browser(command) as page:
        yield page


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    return {
        "replay": write_report(all_in_one(), folder / "replay"),
        "demo": write_demo_report(a_board(), FACTS, folder),
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, SCREEN])
@pytest.mark.parametrize("name", SHOWN)
def test_a_report_fits_and_can_be_read(page: Page, reports: dict[str, Path], name: str, width: int, scheme: str):
    page.load(reports[name], width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OVER) == []
    assert page.evaluate(FAINT) == []
    assert page.evaluate(UNNAMED) == 0
    sizes = page.evaluate(SIZES)
    assert len(sizes) > 20
    assert [one for one in sizes if one[1] < SMALLEST_PX] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_plots_are_drawn_in_the_inks_of_their_paper(page: Page, reports: dict[str, Path], scheme: str):
    page.load(reports["replay"], SCREEN, scheme)
    inks = DARK.values() if scheme == "dark" else DARK
    wanted = {f"rgb({int(ink[1:3], 16)}, {int(ink[3:5], 16)}, {int(ink[5:], 16)})" for ink in inks}
    assert set(page.evaluate(COLOURS)) - {"none", "rgb(0, 0, 0)"} <= wanted


def test_a_page_that_does_not_fit_is_seen(page: Page, tmp_path: Path):
    """The checks above can fail."""
    wide = (
        '<meta name="viewport" content="width=device-width"><p style="width:500px;color:#999">too wide, too faint</p>'
    )
    (tmp_path / "wide.html").write_text(wide)
    page.load(tmp_path / "wide.html", PHONE, "light")
    assert page.evaluate(OVER) == ["P too wide, too faint"]
    assert [text for text, _ in page.evaluate(FAINT)] == ["too wide, too faint"]
