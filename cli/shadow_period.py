"""The time in which workers rank the same requests by two bundles, as `rankstream deploy` sees it."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

import click
from msgspec.structs import replace

from rankstream.cli.errors import Refusal
from rankstream.features.files import PointerError, current_name
from rankstream.ranking.deployment import (
    DEPLOYMENT,
    Deployment,
    delete_reports,
    make_reports,
    read_deployment,
    write_deployment,
)
from rankstream.ranking.shadow.report import Figures, Report, Spread, against, failure_of, figures_of, read_reports
from rankstream.streams.clients.group import members_of_group
from rankstream.streams.pipeline import wall_clock_ms
from rankstream.streams.settings import Settings

LOOK_S = 0.5
TELL_S = 30.0
SILENT_S = 15.0  # a worker that has reported nothing for so long is gone, or stuck in a request
PATIENCE_S = 45.0  # for workers to open both bundles, or to be started again
LAST_REPORT_S = 3.0  # after the end


def refuse_another(bundles: Path) -> None:
    """Raise ``Refusal`` while another deployment is under way."""
    other = read_deployment(bundles)
    if other is not None and other.is_shadow(wall_clock_ms()):
        raise Refusal(
            f"{other.bundle} is in the shadow of {other.before} already: let that end, or delete "
            f"{bundles / DEPLOYMENT} if its command was killed"
        )


class ShadowPeriod:
    """Begins and ends a shadow, and looks at what workers report meanwhile."""

    def __init__(
        self,
        bundles: Path,
        begun: Deployment,
        settings: Settings,
        minutes: float,
        members: Callable[[Settings], int] = lambda settings: asyncio.run(members_of_group(settings)),
    ) -> None:
        self.bundles = bundles
        self.seconds = 60 * minutes
        self._members = members
        self._settings = settings
        self._begun = begun
        self._complete_at = 0.0  # when as many workers as there are reported last

    def run(self, slower: float, min_overlap: float) -> Figures:
        """Wait for its end; return what workers found. Raises ``Refusal`` where the new bundle must not serve."""
        name, before = self._begun.bundle, self._begun.before
        members = self._members(self._settings)
        if not members:
            raise Refusal(f"no worker of the group {self._settings.app_id} is there to rank by {name}: start one")
        try:
            reports = self._watched(members)
        finally:
            delete_reports(self.bundles)
        figures = figures_of(reports)
        wrong = failure_of(reports) or against(figures, slower, min_overlap)
        if wrong is not None:
            raise Refusal(f"{name} does not serve, {before} goes on: {wrong}")
        self._refuse_moved()
        return figures

    def _watched(self, members: int) -> list[Report]:
        """Look at the reports until the time is over, or one says that it can't go on.

        Time counts from when all workers have opened both bundles.
        """
        folder, end = make_reports(self.bundles, self._begun), float("inf")
        self._complete_at, tell_at = monotonic(), monotonic() + TELL_S
        self._write_until(wall_clock_ms() + int(1000 * (PATIENCE_S + self.seconds + LAST_REPORT_S)))
        while monotonic() < end:
            reports = read_reports(folder)
            if failure_of(reports) is not None:
                return reports
            if self._is_complete(reports, members):
                end = min(end, monotonic() + self.seconds)
            if monotonic() >= tell_at:
                compared = sum(report.compared for report in reports)
                click.echo(f"note: {len(reports)} workers have ranked {compared} requests by both", err=True)
                tell_at = monotonic() + TELL_S
            sleep(LOOK_S)
        return self._last_reports(folder)

    def _last_reports(self, folder: Path) -> list[Report]:
        """End the shadow, and give workers time for what they found last."""
        ended_ms = wall_clock_ms()
        self._write_until(ended_ms)
        deadline = monotonic() + LAST_REPORT_S
        while any(report.at_ms < ended_ms for report in read_reports(folder)) and monotonic() < deadline:
            sleep(LOOK_S)
        return read_reports(folder)

    def _write_until(self, until_ms: int) -> None:
        write_deployment(self.bundles, replace(self._begun, until_ms=until_ms))

    def _is_complete(self, reports: list[Report], members: int) -> bool:
        """Return whether all workers report. Raises ``Refusal`` where some have not for long."""
        alive = sum(wall_clock_ms() - report.at_ms < 1000 * SILENT_S for report in reports)
        if alive >= members:
            self._complete_at = monotonic()
            return True
        if monotonic() - self._complete_at > PATIENCE_S:
            raise Refusal(
                f"{self._begun.bundle} does not serve, {self._begun.before} goes on: of {members} workers {alive} "
                f"report how it ranks; the others are stuck in it, serve from another folder than {self.bundles}, or "
                "can't write there: their logs say which"
            )
        return False

    def _refuse_moved(self) -> None:
        try:
            current = current_name(self.bundles)
        except (OSError, PointerError) as exc:
            raise Refusal(f"{self.bundles} names no current bundle any more: {exc}") from exc
        if current != self._begun.before:
            raise Refusal(
                f"{current} was made current while {self._begun.bundle} was in the shadow of {self._begun.before}: "
                "run the command again"
            )


def shadow_told(figures: Figures) -> str:
    """Return what the shadow has shown, as people read it."""
    skipped = f" ({figures.skipped} more were not, as it was busy)" if figures.skipped else ""
    errors = f"; it alone failed {sum(figures.errors.values())}" if figures.errors else ""
    best, order = figures.overlap, figures.correlation
    return "\n".join(
        [
            f"  in its shadow {figures.workers} workers ranked {figures.compared} requests by both{skipped}{errors}",
            f"    of the 10 best items {best.mean:.0%} are as before, {best.low:.0%} in one request of 20",
            f"    rank correlation {_number(order.mean)}, {_number(order.low)} in one request of 20",
            f"    ms a request: {_times(figures.new_ms)}, before {_times(figures.serving_ms)}",
        ]
    )


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"


def _times(spread: Spread) -> str:
    return f"median {_number(spread.median)}, 99 of 100 below {_number(spread.high)}"
