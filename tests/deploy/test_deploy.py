"""What deploy/ holds fits the software: metric names, configs, commands, probes and the project's own names."""

from __future__ import annotations

import functools
import json
import re
import shutil
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import yaml

from sfs_core.cli.gflags import parse_flags
from sfs_core.cli.secretflow_serving import FLAGS
from sfs_core.config.loader import load
from sfs_core.config.reference_telemetry import read_logging, read_trace
from sfs_core.config.schema import ServerConfig
from sfs_core.engine.cache import CachedSource
from sfs_core.engine.precomputed import PrecomputedRows
from sfs_core.observe.server_metrics import ServerMetrics
from sfs_core.server.desired import Package
from sfs_core.server.gauges import add_gauges, add_worker_metrics
from sfs_core.server.readiness import Readiness
from sfs_core.server.tls import unprotected
from tests.support.certificates import Certificates
from tests.support.kuscia import document, party_config

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
QUERY_WORDS = re.compile(r'"[^"]*"|\[[^\]]*\]|by \([^)]*\)')
FUNCTIONS = {"histogram_quantile", "max_over_time"}
NAMES = re.compile(r"\b[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b")


@functools.cache
def series() -> dict[str, set[str]]:
    """Labels of every series that a server shows once everything has been counted."""
    metrics = ServerMetrics("alice", ["svc"], ["alice", "bob"])
    metrics.predicted("svc", 1, 1, 0.1, 1.0)
    metrics.executed("svc", 1, 0.1, 1.0)
    metrics.ran("svc", "bob", 1, "FS_SERVICE", 0.1, 1.0)
    metrics.fetched("svc", "bob", 1, 0.1, 1.0)
    metrics.asked_source("svc", "csv", 1, 0.1, 1.0)
    metrics.told_model("svc", 1, 0.1, 1.0)
    metrics.called_peer("bob", "Execute", 1, 0.1, 1.0)
    metrics.step("svc", 0, "node").observe(0.1, 1.0)
    metrics.joined("svc").observe(2, 1.0)
    models: Any = {"svc": served_model()}
    listener: Any = SimpleNamespace(calls_under_way=1, calls_refused={"quota": 1})
    add_gauges(metrics, models, Readiness("alice", models), lambda: {"service": listener})
    add_worker_metrics(metrics, lambda: 2)
    text = metrics.page()[2].decode()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {re.split(r"[{ ]", line)[0]: set(re.findall(r'(\w+)="', line)) for line in lines}


def served_model() -> Any:
    """Looks like a model with everything that gauges read."""
    source = CachedSource(Mock(), ttl=1.0, missing_ttl=0.0, max_rows=1, max_bytes=1 << 20)
    features = SimpleNamespace(source=source, caches=[source])
    operators = {"op": SimpleNamespace(state=lambda: {"stock": 1.0})}
    executor = SimpleNamespace(features=features, operators=operators, precomputed=PrecomputedRows({}, 1))
    info, batcher = SimpleNamespace(name="m"), SimpleNamespace(waiting_rows=1)
    return SimpleNamespace(executor=executor, info=info, package=Package(sha256="0"), batcher=batcher, predictor=None)


def shown() -> list[tuple[str, str]]:
    """Query and text of every alert and of everything that the dashboard draws."""
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text())
    dashboard = json.loads((DEPLOY / "grafana" / "sfs.json").read_text())
    return [
        *((rule["expr"], rule["annotations"]["summary"]) for group in rules["groups"] for rule in group["rules"]),
        *((target["expr"], target["legendFormat"]) for panel in dashboard["panels"] for target in panel["targets"]),
    ]


@pytest.mark.parametrize(("query", "text"), shown())
def test_metrics_and_labels_that_are_asked_for_exist(query: str, text: str) -> None:
    asked = set(NAMES.findall(QUERY_WORDS.sub("", query))) - FUNCTIONS
    assert asked <= series().keys()
    assert asked or query.startswith("up{")
    kept = [set(labels.split(", ")) for labels in re.findall(r"by \(([^)]*)\)", query)]
    matched = set(re.findall(r'(\w+)(?:=~|!=|=)"', query))
    for name in asked:
        assert matched.union(*kept) <= series()[name]
    named = set(re.findall(r"\{\{ ?(?:\$labels\.)?(\w+) ?\}\}", text))
    assert named - {"instance"} <= (kept[0] if kept else set().union(*(series()[name] for name in asked)))


def manifests() -> dict[str, Any]:
    return {
        f"{each['kind']} {each['metadata']['name']}": each
        for each in yaml.safe_load_all((DEPLOY / "kubernetes" / "sfs.yaml").read_text())
    }


def certificate_of(party: str, certificates: Certificates, into: Path, names: tuple[str, str]) -> None:
    """The authority's certificate, and a party's with its key under the names of `names`, in a folder."""
    files = certificates.files(party)
    for name, file in zip((*names, "ca.crt"), (files.certificate_file, files.key_file, files.ca_file), strict=True):
        assert file is not None
        shutil.copy(file, into / name)


def compose_config(party: str, certificates: Certificates, folder: Path) -> ServerConfig:
    """A party's config, with certificates where its container has them."""
    certificate_of(party, certificates, folder, (f"{party}.crt", f"{party}.key"))
    text = (DEPLOY / "compose" / f"{party}.yaml").read_text().replace("/certificates/", f"{folder}/")
    (folder / f"{party}.yaml").write_text(text)
    return load(folder / f"{party}.yaml").config


def test_the_config_for_kubernetes(tmp_path: Path, certificates: Certificates) -> None:
    text = manifests()["ConfigMap sfs"]["data"]["config.yaml"]
    for name, value in manifests()["Secret sfs"]["stringData"].items():
        (tmp_path / name).write_text(value)
    certificate_of("alice", certificates, tmp_path, ("tls.crt", "tls.key"))
    for mounted in ("/etc/sfs-secrets", "/etc/sfs-tls"):
        assert mounted in text
        text = text.replace(mounted, str(tmp_path))
    (tmp_path / "config.yaml").write_text(text)
    config = load(tmp_path / "config.yaml").config
    listen = config.listen
    assert not any("peers" in open_still for open_still in unprotected(config, ["communication", "service"]))
    container = manifests()["Deployment sfs"]["spec"]["template"]["spec"]["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {
        "service": listen.service,
        "peers": listen.communication,
        "metrics": listen.metrics,
        "health": listen.health,
    }
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] == "health"
        assert container[probe]["httpGet"]["path"] in ("/health", "/ready")


def test_what_manifests_name_is_there() -> None:
    pod = manifests()["Deployment sfs"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    labels = manifests()["Deployment sfs"]["spec"]["template"]["metadata"]["labels"]
    for service in ("Service sfs", "Service sfs-peers"):
        assert manifests()[service]["spec"]["selector"].items() <= labels.items()
        assert all(port["targetPort"] in str(container["ports"]) for port in manifests()[service]["spec"]["ports"])
    assert manifests()["PodDisruptionBudget sfs"]["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_the_configs_for_compose(tmp_path: Path, certificates: Certificates) -> None:
    compose = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
    assert set(compose["services"]) == {"alice", "bob"}
    configs = {party: compose_config(party, certificates, tmp_path) for party in compose["services"]}
    for party, config in configs.items():
        for name in ("ca.crt", f"{party}.crt", f"{party}.key"):
            assert f"./certificates/{name}:/certificates/{name}:ro" in compose["services"][party]["volumes"]
        assert not any("TLS" in open_still for open_still in unprotected(config, ["communication", "service"]))
        assert config.party == party
        assert config.parties.keys() == configs.keys()
        assert config.parties[party].address == f"{party}:{config.listen.communication}"
        assert f"127.0.0.1:{config.listen.health}/ready" in str(compose["services"][party]["healthcheck"])
        assert f"./{party}.yaml:/etc/sfs/config.yaml:ro" in compose["services"][party]["volumes"]


def test_kuscia_s_template_renders_to_what_starts(tmp_path: Path) -> None:
    spec = yaml.safe_load((DEPLOY / "kuscia" / "app-image.yaml").read_text())["spec"]
    parts = document({"alice": party_config(), "bob": party_config()})
    values = {
        "SERVING_ID": parts["serving_id"],
        "INPUT_CONFIG": parts["input_config"],
        "CLUSTER_DEFINE": parts["cluster_def"],
        "ALLOCATED_PORTS": parts["allocated_ports"],
        "SERVING_LOGGING_CONFIG": '{"logLevel": "DEBUG_LOG_LEVEL"}',
        "SERVING_TRACE_CONFIG": '{"traceLogEnable": true}',
    }
    for name, template in spec["configTemplates"].items():
        text = re.sub(r"\{\{\.(\w+)\}\}", lambda match: json.dumps(values.get(match[1], ""))[1:-1], template)
        (tmp_path / name).write_text(text)
    (container,) = spec["deployTemplates"][0]["spec"]["containers"]
    flags = parse_flags(container["args"], FLAGS)
    files = {name: tmp_path / Path(str(flags[name])).name for name in FLAGS if name.endswith("_file")}
    assert load(files["serving_config_file"], kuscia=flags["config_mode"] == "kuscia").config.party == "alice"
    assert read_logging(files["logging_config_file"]).level == "debug"
    assert read_trace(files["trace_config_file"]) is not None
    assert {port["name"] for port in container["ports"]} == {"service", "communication", "internal", "brpc-builtin"}


def test_the_image_installs_and_runs_what_there_is(tmp_path: Path, certificates: Certificates) -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r'"\.\[([a-z,]+)\]"', text)
    assert set(extras.split(",")) == project["optional-dependencies"].keys() - {"testing"}
    (command,) = re.findall(r"ENTRYPOINT \[\"(\w+)\"\]", text)
    assert command in project["scripts"]
    assert re.search(r"^USER 10001$", text, re.MULTILINE)
    (exposed,) = re.findall(r"^EXPOSE (.*)$", text, re.MULTILINE)
    listen = compose_config("alice", certificates, tmp_path).listen
    assert [int(port) for port in exposed.split()] == [
        listen.service,
        listen.communication,
        listen.metrics,
        listen.health,
    ]
    for name in ("constraints.txt", "plugins"):
        assert (ROOT / name).exists()
        assert name in text
