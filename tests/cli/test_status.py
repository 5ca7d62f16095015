"""What `rankstream status` calls ready, and what it says where something is not."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import msgspec
import pytest

from rankstream.cli.commands.status import asked, members_table, partitions_table, workers_table
from rankstream.cli.views.table import console
from rankstream.ranking.served_versions import ServedVersion
from rankstream.streams.clients.group_status import GroupStatus, MemberStatus, PartitionStatus
from rankstream.streams.worker.readiness import Readiness, Restoring
from tests.builders.cli import connected, fresh_topics, rankstream, refusal

ONE, TWO = MemberStatus("worker-1-af", "10.0.0.1", [0]), MemberStatus("worker-2-b3", "10.0.0.2", [1])


def a_partition(number: int, member: str | None = "worker-1-af", committed: int | None = 40) -> PartitionStatus:
    return PartitionStatus("user-actions", number, member, committed, 50, 50 - (committed or 0))


def a_group(*partitions: PartitionStatus, state: str = "Stable") -> GroupStatus:
    return GroupStatus("shop", state, [ONE, TWO], partitions)


def a_page(ready: bool, *reasons: str) -> Readiness:
    versions = {"model": ServedVersion("m7", 1_700_000_000_000)}
    return Readiness(ready, reasons, "shop", "worker-1", [0, 1], [], [Restoring(2, 5, 7)], versions, 0.5)


@contextmanager
def a_worker(status: int, body: bytes) -> Iterator[str]:
    """A page that answers so, at the address."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/ready" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_group_in_which_each_partition_has_a_worker_is_ready():
    assert a_group(a_partition(0), a_partition(1, "worker-2-b3")).problems() == []


def test_brokers_that_do_not_tell_who_has_what_make_no_group_unready():
    group = a_group(a_partition(0, None), a_partition(1, None))
    assert group.problems() == []
    with (screen := console()).capture() as shown:
        screen.print(partitions_table(group))
    assert "ask the workers with --worker" in " ".join(shown.get().split())  # at any width
    assert "nobody" not in shown.get()


@pytest.mark.parametrize(
    ("group", "problem"),
    [
        (GroupStatus("shop", "Empty", [], [a_partition(0, None)]), "no worker belongs to the group shop"),
        (a_group(a_partition(0), state="PreparingRebalance"), "the group shop is PreparingRebalance: workers are"),
        (a_group(a_partition(0, None), a_partition(1), a_partition(2, None)), "nobody has user-actions 0, 2"),
    ],
)
def test_what_is_missing_has_a_sentence(group, problem):
    (found,) = group.problems()
    assert found.startswith(problem)


def test_a_worker_is_believed_whether_it_is_ready_or_not():
    with a_worker(200, msgspec.json.encode(a_page(True))) as url:
        assert asked(url).page == msgspec.convert(msgspec.to_builtins(a_page(True)), Readiness)
        assert (asked(f"http://{url}/").ready, asked(url).reasons) == (True, [])
    with a_worker(503, msgspec.json.encode(a_page(False, "it restores"))) as url:
        assert (asked(url).ready, asked(url).reasons) == (False, [f"{url}: it restores"])


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (404, b"", "answers 404 to /ready, so it is no worker of this version"),
        (200, b"<html>", "does not say whether it is ready"),
        (503, b"upstream is away", "answers 503, and not as a worker does"),
    ],
)
def test_what_is_no_worker_is_told_in_a_sentence(status, body, reason):
    with a_worker(status, body) as url:
        (told,) = asked(url).reasons
        assert reason in told


@pytest.mark.parametrize("url", ["127.0.0.1:9", "file:///etc/passwd", "no host", "http://"])
def test_an_address_that_leads_nowhere_is_told_in_a_sentence(url):
    found = asked(url)
    assert (found.ready, found.page) == (False, None)
    assert "does not say whether it is ready" in found.reasons[0]


def test_the_tables_show_members_partitions_and_versions():
    screen = console()
    with screen.capture() as shown:
        screen.print(members_table(a_group()))
        screen.print(partitions_table(a_group(a_partition(0), a_partition(1, None, None))))
        with a_worker(200, msgspec.json.encode(a_page(True))) as url:
            screen.print(workers_table([asked(url)]))
    for expected in ("group shop: Stable", "10.0.0.2", "nobody", "60 records behind", "model m7", "yes"):
        assert expected in shown.get()


@pytest.mark.broker
def test_a_group_without_workers_is_not_ready_and_its_lag_is_all_that_there_is(bootstrap_servers):
    settings = fresh_topics(bootstrap_servers)
    result = rankstream("status", *connected(settings), "--app-id", "nobody-yet", "--json")
    document = json.loads(result.stdout)
    assert (result.exit_code, document["ready"]) == (1, False)
    assert document["reasons"] == ["no worker belongs to the group nobody-yet"]
    assert len(document["partitions"]) == 4
    shown = rankstream("status", *connected(settings), "--app-id", "nobody-yet")
    assert "not ready: no worker belongs to the group nobody-yet" in shown.output


@pytest.mark.broker
def test_topics_that_are_not_there_are_named(bootstrap_servers):
    sentence = refusal(rankstream("status", "--bootstrap-servers", bootstrap_servers, "--topic-prefix", "nowhere."))
    assert "has no topic nowhere.user-actions, nowhere.ranking-requests" in sentence
