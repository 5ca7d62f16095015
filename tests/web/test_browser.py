"""The live page as a browser shows it: clicks move the row, by mouse and by keyboard, on a phone and in the dark.

The times from click to paint are printed (``-s``), not asserted: they are of this machine as it is now.
"""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median, quantiles

import pytest

from rankstream.streams.broker import free_port
from tests.builders.browser import Page, browser, find_browser
from tests.builders.bundle import a_bundle
from tests.builders.gateway import RunningGateway
from tests.builders.live_page import HOSTILE, a_live_page
from tests.builders.patience import PATIENCE_S
from tests.evaluation.test_pages_in_a_browser import FAINT, OVER

ROOT = Path(__file__).parents[2]
PHONE, SCREEN = 390, 1280
SHOWN = "document.querySelectorAll('#row .card[data-id]').length === 20"
ORDER = "[...document.querySelectorAll('#row .card')].map(one => one.dataset.id)"
FROZEN = "[...document.querySelectorAll('#frozen li')].map(one => one.dataset.id).filter(Boolean)"
FACTS = "({...document.getElementById('followed').dataset})"
CLICK = "document.querySelectorAll('#row .card')[{at}].querySelector('[data-control=\"{action}\"]').click()"
PLACES = """['row', 'frozen', 'stale'].map(id => document.getElementById(id).getBoundingClientRect())
  .map(one => [one.left, one.top + scrollY, one.height])"""
SHIFT = """new Promise(done => {
  const shifts = list => done(list.getEntries().reduce((sum, one) => sum + one.value, 0))
  new PerformanceObserver(shifts).observe({type: 'layout-shift', buffered: true})
  setTimeout(done, 300, 0) })"""
UNNAMED = """[...document.querySelectorAll('button, select, input')].filter(one =>
  !(one.getAttribute('aria-label') || one.textContent.trim() || one.labels?.length)).length"""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    command = find_browser()
    if command is None:
        pytest.skip("no Chromium is installed that could show the page; RANKSTREAM_TEST_BROWSER=/path/to/one names it")
    with browser(command) as page:
        yield page


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with a_live_page(tmp_path_factory.mktemp("live"), dict.fromkeys(range(1, 201, 2), HOSTILE)) as running:
        yield running


def open_page(page: Page, address: str, width: int = SCREEN, scheme: str = "light", motion: str = "reduce") -> None:
    page.open(f"{address}/page/icon.svg")  # of the same origin
    page.evaluate("sessionStorage.clear()")
    page.open(f"{address}/", width, scheme, motion)
    page.wait_for(f"{SHOWN} && {FACTS}.actions")


def complaints(page: Page) -> list[str]:
    """What the browser had to say; it asks for an icon of the picture alone that ``open_page`` looks at first."""
    return [one for one in page.complaints if "favicon.ico" not in one]


def click(page: Page, at: int, action: str = "save") -> dict[str, str]:
    """Act on a card and return what the page says of the feed that knows it."""
    actions = int(page.evaluate(FACTS)["actions"]) + 1
    page.evaluate(CLICK.format(at=at, action=action))
    page.wait_for(f"{FACTS}.actions == {actions} && {FACTS}.knew == 'true'")
    return page.evaluate(FACTS)  # type: ignore[no-any-return]


def test_each_of_thirty_clicks_is_known_to_the_feed_that_follows_it(page: Page, running: RunningGateway):
    open_page(page, running.address)
    first = page.evaluate(ORDER)
    page.wait_for(f"{FROZEN}.length === 20")
    frozen = page.evaluate(FROZEN)
    assert frozen == first
    took = [float(click(page, at % 20)["ms"]) for at in range(30)]
    assert page.evaluate("document.getElementById('followed').textContent").startswith("feed followed in ")
    assert page.evaluate(ORDER) != page.evaluate(FROZEN)
    assert page.evaluate(FROZEN) == frozen
    assert complaints(page) == []
    print(f"click to painted: median {median(took):.0f} ms, p99 {quantiles(took, n=100)[-1]:.0f} ms")


def test_the_row_differs_from_the_frozen_one_after_three_clicks_and_an_undone_one_has_never_been(page, running):
    open_page(page, running.address)
    for at in (2, 5):
        click(page, at)
    before = page.evaluate(ORDER)
    click(page, 3, "hide")
    assert page.evaluate(ORDER) != before
    page.evaluate("document.getElementById('undo').click()")
    page.wait_for(f"{FACTS}.actions == 2 && {ORDER}.join() === '{','.join(before)}'")
    page.evaluate("document.getElementById('new').click()")
    page.wait_for(f"{FACTS}.actions == 0 && {ORDER}.join() === {FROZEN}.join()")


def test_a_visitor_is_the_same_one_after_a_reload(page, running):
    open_page(page, running.address)
    click(page, 4)
    visitor, shown = "document.getElementById('visitor').textContent", page.evaluate(ORDER)
    before = page.evaluate(visitor)
    page.open(f"{running.address}/", SCREEN)
    page.wait_for(f"{FACTS}.actions == 1 && {ORDER}.join() === '{','.join(shown)}'")
    assert page.evaluate(visitor) == before


def test_the_slider_says_how_many_actions_count(page, running):
    open_page(page, running.address)
    click(page, 1)
    slide = (
        "(one => {{ one.value = {to}; one.dispatchEvent(new Event('input')) }})(document.getElementById('staleness'))"
    )
    text = "document.getElementById('stale-count').textContent"
    page.wait_for(f"{text}.startsWith('0 of 1')")
    page.evaluate(slide.format(to=0))
    page.wait_for(f"{text}.startsWith('1 of 1')")
    assert page.evaluate("document.getElementById('staleness').getAttribute('aria-valuetext')") == "0 s"


def test_why_names_the_click_in_a_dialog_that_escape_closes(page, running):
    open_page(page, running.address)
    click(page, 0)
    page.evaluate("document.querySelectorAll('#row .why')[4].focus()")
    page.press("Enter", 13, "\r")
    page.wait_for("document.getElementById('why-body').textContent.includes('your save on')")
    assert page.evaluate("document.getElementById('why-body').querySelectorAll('table').length") == 2
    page.press("Escape", 27)
    page.wait_for("!document.getElementById('why').open")
    assert page.evaluate("document.activeElement.dataset.control") == "why?"


@pytest.mark.parametrize(("width", "scheme"), [(PHONE, "light"), (PHONE, "dark"), (SCREEN, "light"), (SCREEN, "dark")])
def test_it_fits_can_be_read_and_does_not_jump(page, running, width, scheme):
    open_page(page, running.address, width, scheme)
    page.wait_for(f"{FROZEN}.length === 20")
    assert page.evaluate(SHIFT) < 0.05
    places = page.evaluate(PLACES)
    click(page, 7)
    page.wait_for("document.getElementById('stale-count').textContent.startsWith('0 of 1')")
    assert page.evaluate(PLACES) == places
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert [one for one in page.evaluate(OVER) if not one.startswith("circle")] == []  # those are cut by their cover
    assert page.evaluate(FAINT) == []
    assert page.evaluate(UNNAMED) == 0


def test_by_keyboard_alone_one_acts_and_stays_in_the_row(page, running):
    open_page(page, running.address)
    page.evaluate("document.querySelectorAll('#row .card')[2].querySelector('button').focus()")
    page.press("Tab", 9)
    assert page.evaluate("document.activeElement.dataset.control") == "click"
    page.press("Enter", 13, "\r")
    page.wait_for(f"{FACTS}.actions == 1 && {FACTS}.knew == 'true'")
    assert page.evaluate(FACTS)["action"] == "click"
    assert page.evaluate("document.activeElement.closest('#row .card') !== null")
    assert page.evaluate("document.activeElement.dataset.control") == "click"


def test_cards_move_unless_somebody_wants_no_motion(page, running):
    playing = "document.getAnimations().length"
    for motion, moves in (("no-preference", True), ("reduce", False)):
        open_page(page, running.address, motion=motion)
        page.evaluate("globalThis.seen = 0; const note = () => { seen = Math.max(seen, " + playing + "); "
                      "requestAnimationFrame(note) }; note()")  # fmt: skip
        click(page, 3)
        assert (page.evaluate("seen") > 0) is moves


def test_hostile_titles_are_text(page, running):
    open_page(page, running.address)
    assert page.evaluate("document.title") == "rankstream live"
    assert page.evaluate("document.querySelectorAll('#row script, #row img').length") == 0
    titles = page.evaluate("[...document.querySelectorAll('#row .title')].map(one => one.textContent)")
    assert HOSTILE in titles
    assert complaints(page) == []


class SomePictures(BaseHTTPRequestHandler):
    """Has pictures of even items alone."""

    def do_GET(self) -> None:
        if int(self.path.strip("/")) % 2:
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Type", "image/svg+xml")
        self.end_headers()
        self.wfile.write(b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')

    def log_message(self, *told: object) -> None:
        """Say nothing."""


def test_pictures_of_a_template_are_shown_and_covers_where_there_is_none(page, tmp_path):
    pictures = ThreadingHTTPServer(("127.0.0.1", 0), SomePictures)
    threading.Thread(target=pictures.serve_forever, daemon=True).start()
    with a_live_page(tmp_path, images=f"http://127.0.0.1:{pictures.server_port}/{{id}}") as running:
        open_page(page, running.address)
        page.evaluate("for (const one of document.images) one.loading = 'eager'")
        page.wait_for("[...document.images].every(one => one.naturalWidth)")  # the others remove themselves
        shown = page.evaluate(
            "[...document.images].map(one => [one.naturalWidth, Number(one.closest('.card').dataset.id)])"
        )
        assert shown == [[9, int(item)] for item in page.evaluate(ORDER) if int(item) % 2 == 0]
        assert page.evaluate("document.querySelectorAll('#row .cover svg').length") == 20
        assert not [one for one in complaints(page) if "Content Security Policy" in one]
    pictures.shutdown()
    pictures.server_close()


def test_a_flood_of_clicks_is_all_known_in_the_end(page, tmp_path):
    with a_live_page(tmp_path, rate_limit=40) as running:
        open_page(page, running.address)
        flood = (
            "for (let n = 0; n < 400; n++) document.querySelectorAll('#row [data-control=\"click\"]')[n % 20].click()"
        )
        page.evaluate(flood)
        page.wait_for(f"{FACTS}.actions == 400 && {FACTS}.knew == 'true'")
        visitor = re.match(r"live-\w+", page.evaluate("document.getElementById('visitor').textContent"))
        assert running.gateway.road.pipeline.users.get(visitor[0].encode()).total == 400
        page.evaluate("document.getElementById('new').click()")  # lets go before the server ends


def start(folder: Path, port: int) -> subprocess.Popen[str]:
    words = ["live", "--bundle", folder / "bundle", "--state-dir", folder / "state", "--port", port]
    command = [sys.executable, "-m", "rankstream.cli.main", *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == f"live page on http://127.0.0.1:{port}/\n"
    return process


def test_a_worker_that_is_killed_between_clicks_loses_none_and_the_page_says_so(page, tmp_path):
    a_bundle(tmp_path / "bundle")
    port, state = free_port(), "document.getElementById('state')"
    with start(tmp_path, port) as first:
        open_page(page, f"http://127.0.0.1:{port}")
        click(page, 0)
        first.kill()
    for at in (1, 2):
        page.evaluate(CLICK.format(at=at, action="click"))
    page.wait_for(f"{state}.dataset.kind === 'away' && {state}.textContent.includes('2 actions of yours wait')")
    with start(tmp_path, port) as second:
        page.wait_for(f"{FACTS}.actions == 3 && {FACTS}.knew == 'true' && {state}.dataset.kind === 'well'")
        page.wait_for("document.getElementById('stale-count').textContent.includes('of 3 count')")
        second.send_signal(signal.SIGTERM)
        assert second.wait(PATIENCE_S) == 0
