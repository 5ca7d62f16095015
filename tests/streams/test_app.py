import asyncio
import importlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from faust.types import TP
from mode import Service

from rankstream.streams import app as worker_app
from rankstream.streams.app import Boot, create_app
from rankstream.streams.settings import Settings
from rankstream.streams.worker.chunks import (
    ChunkConsumer,
    ChunkConsumerThread,
    ChunkScheduler,
    ChunkTransport,
    PatientProducer,
)
from rankstream.streams.worker.runtime import WorkerRuntime, listed
from tests.builders.actions import SomeLiveRanker


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(bootstrap_servers="127.0.0.1:1,127.0.0.1:2", app_id="t", topic_prefix="p.", state_dir=tmp_path)


def test_an_app_has_two_agents_and_connects_to_nothing(settings):
    app = create_app(settings, SomeLiveRanker())
    topics = {name for agent in app.agents.values() for name in agent.channel.topics}
    assert topics == {"p.user-actions", "p.ranking-requests"}
    assert len(app.conf.broker) == 2


def test_offsets_are_ours_to_commit_not_fausts(settings):
    app = create_app(settings, SomeLiveRanker())
    assert [agent.channel.acks for agent in app.agents.values()] == [False, False]
    assert isinstance(app.conf.ConsumerScheduler(), ChunkScheduler)
    assert isinstance(app.transport, ChunkTransport)


def test_the_users_options_reach_the_groups_consumer(settings):
    options = "client_id=shop,check_crcs=false,client_rack=eu-1a,fetch_min_bytes=7,compression_type=lz4"
    app = create_app(replace(settings, kafka=options), SomeLiveRanker())
    assert (app.conf.broker_client_id, app.conf.broker_check_crcs) == ("shop", False)
    assert app.transport.options == {"client_rack": "eu-1a", "fetch_min_bytes": 7}


def test_nothing_idle_holds_up_what_is_busy(settings):
    app = create_app(settings, SomeLiveRanker())
    assert app.conf.topic_disable_leader
    assert app.transport.fetch_max_wait_ms == settings.fetch_max_wait_ms == 50
    assert app.transport.fetch_pace_s() == settings.fetch_pace_ms / 1000 == 0.003


def test_there_is_a_web_server_only_where_a_port_is_set(settings):
    app = create_app(settings, SomeLiveRanker())
    app.conf.web_enabled = True  # what the command `faust worker` does
    assert list(app.boot_strategy.web_server()) == []
    assert create_app(replace(settings, web_port=6099), SomeLiveRanker()).boot_strategy._should_enable_web()


def test_the_health_page_is_for_this_machine_unless_told_otherwise(settings):
    assert create_app(replace(settings, web_port=6099), SomeLiveRanker()).conf.web_bind == "127.0.0.1"
    outside = replace(settings, web_port=6099, web_host="0.0.0.0")
    assert create_app(outside, SomeLiveRanker()).conf.web_bind == "0.0.0.0"


def test_no_signal_opens_a_debugger(settings, monkeypatch, caplog):
    monkeypatch.setattr("pdb.set_trace", lambda: pytest.fail("a debugger was opened"))
    create_app(settings, SomeLiveRanker()).Worker()._on_sigusr2()
    assert "there is no debugger here" in caplog.text


def test_the_worker_runtime_starts_before_and_stops_after_all_of_faust(settings):
    async def story():
        app = create_app(settings, SomeLiveRanker())
        app.finalize()
        assert isinstance(next(iter(app.boot_strategy.server())), WorkerRuntime)

    asyncio.run(story())


OVERRIDDEN = {
    WorkerRuntime: {"on_start", "on_stop", "abstract"},
    Boot: {"server"},
    ChunkConsumer: {"seek_to_committed", "_new_consumer_thread", "abstract"},
    ChunkConsumerThread: {"_create_consumer", "_fetch_records", "abstract", "on_thread_stop", "verify_event_path"},
    ChunkTransport: {"Consumer", "Producer"},
    PatientProducer: {"_new_producer", "abstract"},
}


@pytest.mark.parametrize("ours", OVERRIDDEN, ids=lambda ours: ours.__name__)
def test_we_shadow_no_name_of_faust_but_those_we_mean_to(ours):
    theirs = {name for base in (*ours.__mro__[1:], Service) for name in vars(base)}
    dunder = {name for name in vars(ours) if name.startswith("__")}
    set_by_mode = {"_abc_impl", "_tasks", "logger", "log", "mundane_level", "shortlabel", "label"}
    assert (set(vars(ours)) & theirs) - dunder - set_by_mode <= OVERRIDDEN[ours]


def test_an_assignment_is_told_by_topic():
    assignment = {TP("user-actions", 10), TP("ranking-requests", 2), TP("user-actions", 2)}
    assert listed(assignment) == "ranking-requests 2; user-actions 2, 10"
    assert listed([]) == "no partition"


def test_importing_the_module_makes_no_app(monkeypatch):
    monkeypatch.delitem(sys.modules, "rankstream.streams.app")
    module = importlib.import_module("rankstream.streams.app")
    assert "app" not in vars(module)
    with pytest.raises(AttributeError, match="has no attribute 'application'"):
        _ = module.application


def test_the_worker_has_no_spinner(settings):
    assert worker_app.QuietFaustWorker(create_app(settings, SomeLiveRanker()), loglevel="WARNING").spinner is None
