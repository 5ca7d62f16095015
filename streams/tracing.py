"""What is told of a request, or of a call by HTTP, to who keeps traces; the classes here keep none.

Pipelines, outboxes and gateways say what they do to the objects below, which do nothing. Where the setting ``traces``
asks for it, ``spans.py`` stands in their place: only then is OpenTelemetry imported, and a clock read.
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext

from rankstream.events.action_event import Record
from rankstream.ranking.request import Ranking, RankingRequest

OFF = "off"
INSTALL = "pip install 'rankstream[otel]'"

Headers = Sequence[tuple[str, bytes]]  # of records; by them a trace goes on where they are read
NO_HEADERS: AbstractContextManager[Headers] = nullcontext(())


class TracesRefusedError(RuntimeError):
    """Traces can't be kept; the message is one sentence and says what to do."""


class RequestTrace:
    """One ranking request, from its record to its answer: what is noted comes in the order of the methods."""

    headers: Headers = ()  # of every record that is sent because of it

    def decoded(self, request: RankingRequest) -> None:
        """Note that the record is a request."""

    def held(self) -> None:
        """Note that the user's state is at hand; from now on it waits for its turn."""

    def begun(self) -> None:
        """Note that it is its turn."""

    def ranked(self, ranking: Ranking) -> None:
        """Note the answer, which has the times of its own stages."""

    def failed(self, reason: str) -> None:
        """Note that it is answered with an error, or a dead letter, and why."""

    def answered(self) -> None:
        """Note that all that is sent because of it is made."""

    def sent(self, topic: str, failure: BaseException | None) -> None:
        """Note that the brokers have its feed, or why they don't."""


class CallTrace:
    """One call by HTTP that sends something to workers."""

    headers: Headers = ()  # of what is worked on in this process

    def asks(self, request_id: object) -> None:
        """Note which request it sends."""

    def sending(self, topic: str, records: int) -> AbstractContextManager[Headers]:
        """Note that records are sent and acknowledged inside of ``with``, which gives the headers that they have."""
        return NO_HEADERS

    def answered(self, status: int | None) -> None:
        """Note the HTTP status of the answer; None where the client did not wait for it."""


UNTRACED, UNTRACED_CALL = RequestTrace(), CallTrace()


class Traces:
    """Where requests and calls are told; this one keeps nothing of them."""

    keeps = False

    def request(self, record: Record) -> RequestTrace:
        """Return what is told of the request that a record holds, before it is looked at."""
        return UNTRACED

    def rejected(self, record: Record, reason: str) -> RequestTrace:
        """Note that a record is no action, or is passed over, and why; return what its dead letter goes on with."""
        return UNTRACED

    def call(self, method: str, path: str, scheme: str, headers: Iterable[tuple[str, str]]) -> CallTrace:
        """Return what is told of a call; its path has no parameter."""
        return UNTRACED_CALL

    def close(self) -> None:
        """Send what is kept, within a few seconds or not at all."""


NO_TRACES = Traces()


def open_traces(choice: str, service: str, group: str | None = None) -> Traces:
    """Return what keeps traces by a value of the setting ``traces``. Raises ``TracesRefusedError``.

    ``service`` names this process where ``OTEL_SERVICE_NAME`` does not; ``group`` is the consumer group of a worker,
    None where requests come from no topic.
    """
    if choice == OFF:
        return NO_TRACES
    try:
        from rankstream.streams.spans import open_spans
    except ImportError as exc:
        raise TracesRefusedError(
            f"traces is {choice}, but OpenTelemetry can't be imported ({exc}): {INSTALL}, or set traces = off"
        ) from exc
    return open_spans(service, group)
