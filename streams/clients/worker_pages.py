"""A worker's page ``/ready``, asked for by HTTP."""

from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import urlopen

import msgspec

from rankstream.streams.worker.readiness import Readiness

ANSWER_S = 5.0

_decode = msgspec.json.Decoder(Readiness).decode


class PageError(Exception):
    """A worker's page can't be read; the message is one sentence."""


def readiness_at(url: str) -> Readiness:
    """Return what a worker says of itself; ``url`` is host:port, or with http:// before it. Raises ``PageError``."""
    base = url if url.startswith(("http://", "https://")) else f"http://{url}"
    try:
        with urlopen(f"{base.rstrip('/')}/ready", timeout=ANSWER_S) as answer:
            return _decode(answer.read())
    except HTTPError as exc:
        if exc.code == 503:
            return _of_refusal(base, exc)
        raise PageError(f"{base} answers {exc.code} to /ready, so it is no worker of this version") from exc
    except (OSError, HTTPException, ValueError, msgspec.DecodeError) as exc:
        raise PageError(f"{base} does not say whether it is ready: {getattr(exc, 'reason', None) or exc}") from exc


def _of_refusal(base: str, answer: HTTPError) -> Readiness:
    try:
        return _decode(answer.read())
    except (OSError, HTTPException, msgspec.DecodeError) as exc:
        raise PageError(f"{base} answers 503, and not as a worker does: {exc}") from exc
