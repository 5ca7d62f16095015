"""The worker's pages: for Prometheus, for who starts and stops it, and for people; JSON but for the first."""

from dataclasses import asdict
from typing import Any

import faust
from aiohttp import web

from rankstream.streams.exposition import CONTENT_TYPE
from rankstream.streams.worker.figures import figures_of
from rankstream.streams.worker.observer import Observer
from rankstream.streams.worker.shadow import Shadows


def add_pages(app: faust.App, observer: Observer, shadows: Shadows) -> None:
    """Declare the pages; Faust serves them where ``web_port`` is set."""

    @app.page("/metrics")
    async def metrics(view: Any, request: Any) -> Any:
        return web.Response(body=observer.metrics(), headers={"Content-Type": CONTENT_TYPE})

    @app.page("/live")
    async def live(view: Any, request: Any) -> Any:
        beat = observer.heartbeat
        return view.json(
            {"live": beat.is_live, "beat_age_s": round(beat.age_s, 3)}, status=200 if beat.is_live else 503
        )

    @app.page("/ready")
    async def ready(view: Any, request: Any) -> Any:
        found = observer.readiness()
        return view.json(asdict(found), status=200 if found.ready else 503)

    @app.page("/deployment")
    async def deployment(view: Any, request: Any) -> Any:
        return view.json(shadows.told())

    @app.page("/figures")
    async def figures(view: Any, request: Any) -> Any:
        owned = {} if observer.ownership is None else observer.ownership.partitions
        return view.json(asdict(figures_of(list(owned.values()))))
