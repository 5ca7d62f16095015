"""Pages of a process that has no server of its own: /metrics for Prometheus, /live for who starts it again."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from rankstream.streams.clients.connect import ClientError
from rankstream.streams.exposition import CONTENT_TYPE

JSON = "application/json"


@contextmanager
def pages(host: str, port: int, metrics: Callable[[], bytes]) -> Iterator[int]:
    """Serve the pages from a thread, and return the port; none where ``port`` is 0. Raises ``ClientError``."""
    if not port:
        yield 0
        return

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer one of the pages."""
            answers = {"/metrics": (CONTENT_TYPE, metrics), "/live": (JSON, lambda: b'{"live": true}')}
            found = answers.get(self.path.partition("?")[0])
            body = b'{"error": "there are /metrics and /live"}' if found is None else found[1]()
            self.send_response(HTTPStatus.NOT_FOUND if found is None else HTTPStatus.OK)
            self.send_header("Content-Type", JSON if found is None else found[0])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            """Log nothing: Prometheus asks every few seconds."""

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as exc:
        raise ClientError(f"no pages can be served at {host}:{port} ({exc}); choose another --web-port") from exc
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield port
    finally:
        server.shutdown()
        server.server_close()
