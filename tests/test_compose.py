"""What of Docker can be checked without Docker: the compose file and the Dockerfile name what exists."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import click
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rankstream.cli.main import main
from rankstream.gateway.settings import TABLE, GatewaySettings, read_gateway_settings
from rankstream.streams.setting_fields import CONFIG_VARIABLE, variable
from rankstream.streams.settings import Settings, read_settings

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "rankstream"]
VARIABLES = {variable(known.name) for known in fields(Settings)} | {CONFIG_VARIABLE}
OF_GATEWAYS = {variable(known.name, TABLE) for known in fields(GatewaySettings)}


def test_there_are_kafka_its_topics_two_workers_a_gateway_and_a_producer():
    watching = {name for name, service in SERVICES.items() if service.get("profiles") == ["watch"]}
    assert set(SERVICES) - watching == {"kafka", "topics", "worker-1", "worker-2", "gateway", "producer"}
    assert set(OURS) == set(SERVICES) - watching - {"kafka"}


@pytest.mark.parametrize("name", OURS)
def test_commands_and_flags_exist(name):
    words = [str(word) for word in SERVICES[name]["command"]]
    command, context = main, click.Context(main)
    while isinstance(command, click.Group):
        command = command.get_command(context, words.pop(0))
        assert command is not None
    assert isinstance(command.make_context(name, words, resilient_parsing=False), click.Context)


@pytest.mark.parametrize("name", OURS)
def test_the_environment_is_made_of_settings_that_are_allowed(name):
    environment = SERVICES[name]["environment"]
    assert set(environment) <= (VARIABLES | OF_GATEWAYS if name == "gateway" else VARIABLES)
    assert read_settings({}, environment).bootstrap_servers == "kafka:9092"


def test_the_gateway_is_checked_where_it_listens_and_reached_from_this_machine_alone():
    gateway = SERVICES["gateway"]
    settings = read_gateway_settings({}, environment=gateway["environment"])
    assert f"http://127.0.0.1:{settings.port}/ready" in gateway["healthcheck"]["test"][-1]
    assert gateway["ports"] == [f"127.0.0.1:{settings.port}:{settings.port}"]
    assert settings.anonymous  # so nobody else may reach it


def test_workers_have_names_and_folders_of_their_own():
    workers = [SERVICES["worker-1"], SERVICES["worker-2"]]
    names = {worker["environment"]["RANKSTREAM_GROUP_INSTANCE_ID"] for worker in workers}
    states = {volume.split(":")[0] for worker in workers for volume in worker["volumes"] if "state" in volume}
    assert len(names) == len(states) == 2
    assert states <= set(COMPOSE["volumes"])


def test_folders_in_the_environment_are_mounted():
    for worker in (SERVICES["worker-1"], SERVICES["worker-2"]):
        mounted = {re.sub(r"^\$\{[^}]*\}", "", volume).split(":")[1] for volume in worker["volumes"]}
        folders = {worker["environment"][f"RANKSTREAM_{name}"] for name in ("BUNDLE", "USER_VECTORS", "STATE_DIR")}
        assert folders <= mounted


def test_services_wait_for_those_that_exist_and_can_report_their_health():
    for service in SERVICES.values():
        waits_for = service.get("depends_on", {})
        for other, wanted in waits_for.items() if isinstance(waits_for, dict) else ():
            if wanted["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other]
            else:
                assert "restart" not in SERVICES[other]  # it must end to be done


def test_the_health_check_queries_the_port_that_is_open():
    worker = SERVICES["worker-1"]
    assert f":{worker['environment']['RANKSTREAM_WEB_PORT']}/ready" in worker["healthcheck"]["test"][-1]


def test_the_images_own_check_queries_whether_the_worker_lives_and_what_has_no_page_is_not_checked():
    image = (ROOT / "Dockerfile").read_text()
    port = re.search(r"RANKSTREAM_WEB_PORT=(\d+)", image)
    assert f"HEALTH_URL=http://127.0.0.1:{port[1]}/live" in image
    assert [name for name in OURS if SERVICES[name].get("healthcheck") == {"disable": True}] == ["topics", "producer"]


def test_the_image_holds_every_package():
    copied = set(re.findall(r"^COPY (\w+) \w+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    installed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"]
    assert copied == set(installed.values())


def test_the_lock_pins_what_the_project_needs_and_nothing_that_it_forbids():
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    lock = (ROOT / "deploy" / "requirements.lock").read_text()
    pinned = dict(re.findall(r"^([\w.-]+)(?:\[[^\]]*\])?==([\w.]+)", lock, re.MULTILINE))
    for one in map(Requirement, wanted):
        assert one.specifier.contains(pinned[canonicalize_name(one.name)]), f"{one}: run `make lock`"
    assert lock.count("--hash=sha256:") > len(pinned)
    assert "torch" not in pinned
