"""What of Kubernetes can be checked without a cluster: manifests are valid, and name what exists and fits together."""

import tomllib
from dataclasses import fields
from pathlib import Path

import click
import kubernetes_validate
import pytest
import yaml

from rankstream.cli.main import main
from rankstream.gateway.settings import GatewaySettings
from rankstream.streams.setting_fields import CONFIG_VARIABLE, variable
from rankstream.streams.settings import Settings, read_settings

FOLDER = Path(__file__).parents[1] / "deploy" / "kubernetes"
CHOICES = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
MANIFESTS = [manifest for name in CHOICES["resources"] for manifest in yaml.safe_load_all((FOLDER / name).read_text())]
PODS = {one["metadata"]["name"]: one["spec"]["template"] for one in MANIFESTS if "template" in one["spec"]}
WORKERS = next(one for one in MANIFESTS if one["kind"] == "StatefulSet")
FILE = FOLDER / "rankstream.toml"


def name_of(manifest):
    return f"{manifest['kind']}-{manifest['metadata']['name']}"


def container_of(pod):
    (container,) = PODS[pod]["spec"]["containers"]
    return container


def settings_of(pod):
    """The settings that the container has by its file and its environment."""
    given = {one["name"]: one.get("value", "a-pod's-name") for one in container_of(pod)["env"]}
    known = {name: text for name, text in given.items() if name.startswith("RANKSTREAM_")}
    return read_settings({}, known | {CONFIG_VARIABLE: str(FILE)})


@pytest.mark.parametrize("manifest", MANIFESTS, ids=name_of)
def test_a_manifest_is_valid_and_has_no_field_that_clusters_do_not_know(manifest):
    kubernetes_validate.validate(manifest, "1.31", strict=True)


def test_the_folder_is_what_the_kustomization_names():
    named = {*CHOICES["resources"], *CHOICES["configMapGenerator"][0]["files"], "kustomization.yaml"}
    assert {path.name for path in FOLDER.iterdir()} == named
    assert set(PODS) == {"rankstream-topics", "rankstream-worker", "rankstream-gateway"}


@pytest.mark.parametrize("pod", PODS)
def test_containers_run_commands_with_settings_that_exist(pod):
    container = container_of(pod)
    assert container["image"] in {image["name"] for image in CHOICES["images"]}
    command, words = main, list(container["args"])
    while isinstance(command, click.Group):
        command = command.get_command(click.Context(main), words.pop(0))
        assert command is not None, container["args"]
    known = {variable(one.name) for one in fields(Settings)} | {CONFIG_VARIABLE, "OMP_NUM_THREADS"}
    assert {one["name"] for one in container["env"]} <= known
    assert settings_of(pod).bootstrap_servers == "kafka:9092"


def test_the_gateways_table_is_made_of_its_settings():
    assert set(tomllib.loads(FILE.read_text())["gateway"]) <= {one.name for one in fields(GatewaySettings)}


@pytest.mark.parametrize("pod", PODS)
def test_folders_of_the_settings_are_mounted_and_what_is_mounted_is_there(pod):
    mounts = {one["name"]: one["mountPath"] for one in container_of(pod)["volumeMounts"]}
    claims = [one["metadata"]["name"] for one in WORKERS["spec"]["volumeClaimTemplates"]]
    volumes = [one["name"] for one in PODS[pod]["spec"]["volumes"]]
    assert set(mounts) == {*volumes, *(claims if pod == "rankstream-worker" else [])}
    if pod == "rankstream-worker":
        settings = settings_of(pod)
        for folder in (settings.state_dir, settings.bundle, settings.user_vectors):
            assert any(folder.is_relative_to(mounted) for mounted in mounts.values())


def test_a_worker_is_named_by_its_pod_and_shares_its_folder_with_none():
    names = [one for one in container_of("rankstream-worker")["env"] if one["name"].endswith("GROUP_INSTANCE_ID")]
    assert names[0]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    (claim,) = WORKERS["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]


@pytest.mark.parametrize("pod", ["rankstream-worker", "rankstream-gateway"])
def test_probes_and_services_come_to_a_port_that_listens_to_others(pod):
    container = container_of(pod)
    probes = [container[kind]["httpGet"] for kind in ("livenessProbe", "readinessProbe")]
    (port,) = container["ports"]
    assert {probe["port"] for probe in probes} == {port["name"]}
    assert [probe["path"] for probe in probes] == ["/live", "/ready"]
    service = next(one for one in MANIFESTS if one["kind"] == "Service" and one["metadata"]["name"] == pod)
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]
    if pod == "rankstream-worker":
        settings = settings_of(pod)
        assert (settings.web_port, settings.web_host) == (port["containerPort"], "0.0.0.0")
    else:
        gateway = tomllib.loads(FILE.read_text())["gateway"]
        listens = next(one for one in fields(GatewaySettings) if one.name == "port").default
        assert (gateway.get("port", listens), gateway["host"]) == (port["containerPort"], "0.0.0.0")


@pytest.mark.parametrize("kind", ["Service", "PodDisruptionBudget"])
def test_what_selects_pods_selects_some(kind):
    labels = [pod["metadata"]["labels"].items() for pod in PODS.values()]
    for one in MANIFESTS:
        if one["kind"] == kind:
            selector = one["spec"]["selector"]
            wanted = selector.get("matchLabels", selector)
            assert any(wanted.items() <= found for found in labels), one["metadata"]["name"]


def test_a_pod_has_time_to_end_and_a_restore_time_to_finish():
    spec = PODS["rankstream-worker"]["spec"]
    assert spec["terminationGracePeriodSeconds"] > 20
    probes = container_of("rankstream-worker")
    assert "/ready" not in str(probes["startupProbe"])  # a restore is no reason to be killed
