"""Open Inference Protocol V2, the OpenAPI document and readiness, against a real cluster."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sfs_core.errors import FeatureError
from sfs_core.server import readiness
from sfs_core.server.openapi import openapi_document
from sfs_core.server.readiness import Readiness
from tests.support.clusters import Answer, ClusterFiles, exchange, linear_files
from tests.support.in_process import logged, serving_here
from tests.support.processes import wait_for

IDS = ["a", "b"]
DOCUMENT: Mapping[str, Any] = json.loads(openapi_document())
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterFiles]:
    columns = {"alice": {"age": [1.0, 2.0]}, "bob": {"debts": [2.0, 3.0]}}
    files = linear_files(tmp_path_factory.mktemp("inference"), IDS, columns)
    with serving_here(files):
        yield files


def get(files: ClusterFiles, path: str) -> Answer:
    return exchange(files.service_port("alice"), path, method="GET")


def infer(files: ClusterFiles, body: Any, model: str = "linear") -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return exchange(files.service_port("alice"), f"/v2/models/{model}/infer", raw, headers=JSON)


def ids(party: str, values: list[Any], **more: Any) -> dict[str, Any]:
    return {"name": party, "shape": [len(values)], "datatype": "BYTES", "data": values, **more}


def test_scores_in_tensors(cluster: ClusterFiles) -> None:
    answer = infer(cluster, {"id": "q", "inputs": [ids("alice", IDS), ids("bob", IDS)]})
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    (name,) = [each["name"] for each in get(cluster, "/v2/models/linear").json()["outputs"]]
    assert answer.json() == {
        "model_name": "linear",
        "id": "q",
        "outputs": [{"name": name, "shape": [2], "datatype": "FP64", "data": [3.5, 5.5]}],
    }
    column = {**ids("alice", [["b"]]), "shape": [1, 1]}
    answer = infer(cluster, {"inputs": [column, ids("bob", ["a"])], "outputs": [{"name": name}]})
    assert answer.json()["outputs"][0]["data"] == [4.5]


def test_features_sent_along(cluster: ClusterFiles) -> None:
    for shape in ([2], [2.0]):
        age = {"name": "age", "shape": shape, "datatype": "FP64", "data": [10, 20.5]}
        answer = infer(cluster, {"inputs": [age, ids("bob", IDS)]})
        assert answer.json()["outputs"][0]["data"] == [12.5, 24.0]
    whole = {"name": "age", "shape": [1], "datatype": "INT32", "data": [10.0]}
    assert "FIELD_DOUBLE is needed" in infer(cluster, {"inputs": [whole, ids("bob", ["a"])]}).json()["error"]
    assert "not of the tensor's datatype" in infer(cluster, {"inputs": [whole | {"data": [1.5]}]}).json()["error"]


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"", 400, "the body is not JSON"),
        (b'{"inputs": 5}', 400, "$.inputs"),
        ({"inputs": []}, 400, ""),
        ({"inputs": [ids("alice", IDS)] * 2}, 400, "two tensors"),
        ({"inputs": [{**ids("alice", IDS), "datatype": "FP16"}]}, 400, "inputs[0].datatype"),
        ({"inputs": [{**ids("alice", [1]), "datatype": "INT64"}]}, 400, "BYTES is expected"),
        ({"inputs": [ids("alice", ["a", 5])]}, 400, "inputs[0].data"),
        ({"inputs": [{**ids("alice", IDS), "shape": [3]}]}, 400, "inputs[0].shape"),
        ({"inputs": [{**ids("alice", IDS), "shape": [1, 2]}]}, 400, "inputs[0].shape"),
        ({"inputs": [ids("alice", ["a"]), ids("bob", IDS)]}, 400, ""),
        ({"inputs": [ids("alice", ["a"]), ids("bob", ["canary"])]}, 502, ""),
        ({"inputs": [ids("alice", IDS), ids("bob", IDS)], "outputs": [{"name": "canary"}]}, 400, "outputs"),
    ],
)
def test_mistakes(cluster: ClusterFiles, body: Any, status: int, error: str) -> None:
    answer = infer(cluster, body)
    assert answer.status == status, answer.body
    assert error in answer.json()["error"]
    assert "canary" not in answer.body.decode()


def test_server_and_models(cluster: ClusterFiles) -> None:
    assert get(cluster, "/v2").json()["name"] == "sfs"
    assert get(cluster, "/v2/health/live").json() == {"live": True}
    assert get(cluster, "/v2/health/ready").json()["ready"] is True
    metadata = get(cluster, "/v2/models/linear").json()
    assert metadata["inputs"] == [{"name": party, "datatype": "BYTES", "shape": [-1]} for party in ("alice", "bob")]
    assert get(cluster, "/v2/models/line%61r/ready").json() == {"name": "linear", "ready": True}
    for path in ("/v2/models/other", "/v2/models/other/ready"):
        assert (get(cluster, path).status, get(cluster, path).json()["code"]) == (404, 5)
    assert infer(cluster, {"inputs": []}, "other").status == 404
    assert get(cluster, "/v2/models/").status == 404


def test_methods(cluster: ClusterFiles) -> None:
    answer = get(cluster, "/v2/models/linear/infer")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    answer = exchange(cluster.service_port("alice"), "/v2", b"{}", method="DELETE")
    assert (answer.status, answer.headers["allow"]) == (405, "GET")
    answer = exchange(cluster.service_port("alice"), "/v2", method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert exchange(cluster.communication_port("alice"), "/v2", method="GET").status == 404


def test_the_pages(cluster: ClusterFiles) -> None:
    assert get(cluster, "/openapi.json").json() == DOCUMENT
    page = get(cluster, "/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert b"://" not in page.body  # nothing is fetched from elsewhere


# ------------------------------------------------------------- what the document says is so
def resolved(schema: Any) -> Any:
    """A schema with the document's definitions, as validators and generators want it."""
    return {**schema, "components": DOCUMENT["components"]}


def operations() -> list[tuple[str, str, Any]]:
    return [
        (path, method, operation)
        for path, item in DOCUMENT["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    ]


def check_answer(operation: Any, answer: Answer) -> None:
    response = operation["responses"][str(answer.status)]
    media = answer.headers["content-type"].partition(";")[0]
    assert media in response["content"], (answer.status, media)
    schema = response["content"][media].get("schema")
    if schema and media == "application/json":
        jsonschema.validate(answer.json(), resolved(schema))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
SCALARS = {
    "string": st.sampled_from(["linear", "alice", "bob", "age", "a", "b"]) | st.text(max_size=5),
    "number": st.floats(allow_nan=False, allow_infinity=False),
    "boolean": st.booleans(),
}


def fitting(schema: Any) -> st.SearchStrategy[Any]:
    """Values that a schema of the document allows."""
    if "$ref" in schema:
        return fitting(DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    for key in ("oneOf", "anyOf"):
        if key in schema:
            return st.one_of([fitting(each) for each in schema[key]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind = schema["type"]
    if isinstance(kind, list):
        return st.one_of([SCALARS[each] for each in kind])
    if kind == "array":
        return st.lists(fitting(schema["items"]), max_size=3)
    if kind == "integer":
        return st.integers(schema["minimum"], min(schema.get("maximum", 3), 1 << 62))
    if kind != "object":
        return SCALARS[kind]
    if "additionalProperties" in schema:
        return st.dictionaries(SCALARS["string"], fitting(schema["additionalProperties"]), max_size=2)
    inner = {name: fitting(each) for name, each in schema["properties"].items()}
    needed = schema["required"]
    return st.fixed_dictionaries(
        {name: each for name, each in inner.items() if name in needed},
        optional={name: each for name, each in inner.items() if name not in needed},
    )


MODELS = st.sampled_from(["linear", "other", "../x", "%", " "])


@pytest.mark.parametrize(("path", "method", "operation"), operations())
def test_answers_are_as_documented(cluster: ClusterFiles, path: str, method: str, operation: Any) -> None:
    body = operation.get("requestBody")
    content = body["content"]["application/json"]["schema"] if body else None
    bodies = fitting(content) | ANYTHING if content else st.none()

    @settings(max_examples=25 if content else 3, deadline=None, suppress_health_check=list(HealthCheck))
    @given(bodies, MODELS)
    def ask(body: Any, model: str) -> None:
        target = path.replace("{model}", quote(model, safe=""))
        raw = b"" if content is None else json.dumps(body).encode()
        answer = exchange(cluster.service_port("alice"), target, raw, method=method.upper(), headers=JSON)
        check_answer(operation, answer)
        assert answer.status != 500

    ask()


# ------------------------------------------------------------------------------- readiness
def models(**checks: Any) -> dict[str, Any]:
    """Served models that agreed, as far as readiness looks at them."""
    features = {name: SimpleNamespace(source=check and SimpleNamespace(check=check)) for name, check in checks.items()}
    return {
        name: SimpleNamespace(predictor=object(), executor=SimpleNamespace(features=each))
        for name, each in features.items()
    }


def fail() -> None:
    raise FeatureError("canary-address does not answer")


async def test_what_is_missing_is_named() -> None:
    served = models(well=lambda: None, broken=fail, none=None)
    served["early"] = SimpleNamespace(
        predictor=None, preparation=None, executor=SimpleNamespace(features=SimpleNamespace(source=None))
    )
    watch = Readiness("alice", served)
    watch.answer()
    await watch.check()
    status, _, body = watch.page()
    assert status == 503
    assert json.loads(body) == {
        "ready": False,
        "services": ["broken", "early", "none", "well"],
        "waiting_for_peers": ["early"],
        "failing_feature_sources": ["broken"],
        "starting": False,
        "stopping": False,
    }
    assert [name for name in served if watch.is_ready(name)] == ["well", "none"]
    del served["early"], served["broken"]
    assert watch.page()[0] == 200
    watch.stop()


def test_nobody_is_sent_to_who_does_not_answer_yet_or_cannot_write_requests_down() -> None:
    watch = Readiness("alice", models(none=None))
    status, _, body = watch.page()
    assert (status, json.loads(body)["starting"], watch.is_ready("none")) == (503, True, False)
    watch.answer()
    assert (watch.page()[0], watch.is_ready("none")) == (200, True)
    watch.can_record = lambda: False
    status, _, body = watch.page()
    assert (status, json.loads(body)["failing_audit_log"], watch.is_ready("none")) == (503, True, False)
    watch.stop()


async def test_a_source_that_hangs_is_not_waited_for_and_not_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "PATIENCE_SECONDS", 0.01)
    go_on, asked = threading.Event(), []

    def hang() -> None:
        asked.append(1)
        go_on.wait(30)

    watch = Readiness("alice", models(slow=hang))
    watch.answer()
    await watch.check()
    await watch.check()
    assert (len(asked), watch.is_ready("slow")) == (1, False)
    go_on.set()
    while not watch.is_ready("slow"):
        await asyncio.sleep(0)
        await watch.check()
    watch.stop()


def test_a_source_that_goes_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = {"alice": {"age": [1.0]}, "bob": {"debts": [2.0]}}
    files = linear_files(tmp_path, ["a"], columns)
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "switch.py").write_text(
        """
from pathlib import Path
import numpy as np
SFS_API = ">=1,<2"
from sfs_core import Batch, FeatureError, FeatureResult, FeatureSource, FeatureSourceSpec, PluginConfig, hookimpl

class Switch(FeatureSource):
    blocking = False

    class Config(PluginConfig):
        file: Path

    def fetch_rows(self, query):
        columns = [np.ones(len(query.ids)) for _ in self.schema.types]
        return FeatureResult(Batch.from_columns(self.schema, columns, len(query.ids)))

    def check(self):
        if not self.config.file.exists():
            raise FeatureError("canary: it is switched off")

@hookimpl
def sfs_feature_sources():
    return [FeatureSourceSpec("switch", f"{__name__}:Switch", "a source that can be switched off")]
"""
    )
    switch = tmp_path / "on"
    switch.touch()
    config = files.configs["alice"]
    config["plugins"] = {"directories": [str(plugins)]}
    config["services"][0]["features"] = {"source": {"name": "switch", "file": str(switch)}}
    monkeypatch.setattr(readiness, "CHECK_SECONDS", 0.05)
    with logged() as log, serving_here(files):
        answer = infer(files, {"inputs": [ids("alice", ["a"]), ids("bob", ["a"])]})
        assert answer.json()["outputs"][0]["data"] == [3.5]
        switch.unlink()
        wait_for(lambda: get(files, "/ready").status == 503, "alice is not ready")
        answer = get(files, "/v2/models/linear/ready")
        assert (answer.status, answer.json()) == (503, {"name": "linear", "ready": False})
        assert get(files, "/ready").json()["failing_feature_sources"] == ["linear"]
        assert b"canary" not in get(files, "/ready").body
        assert get(files, "/health").status == 200
        cause = r"linear is not ready: its feature source: .*/alice\.json:\d+ features\.source \(switch\): canary"
        assert re.search(cause, log.getvalue())
        switch.touch()
        wait_for(lambda: get(files, "/ready").status == 200, "alice is ready again")


# ------------------------------------------------------------------------ by another tool
BY_DESIGN = ("negative_data_rejection", "unsupported_method")
"""Verdicts travel inside answers with status 200, and pages answer every method, as the reference's do."""


def test_schemathesis_finds_no_fault(cluster: ClusterFiles, dice: random.Random) -> None:
    """Every case at the edges of every schema; random ones, too, where others than always are asked for."""
    url = f"http://127.0.0.1:{cluster.service_port('alice')}/openapi.json"
    tool = Path(sys.executable).with_name("schemathesis")
    phases = "coverage,fuzzing" if os.environ.get("SFS_TEST_SEED") else "coverage"
    bounds = ["--phases", phases, "--seed", str(dice.getrandbits(32)), "--no-color"]
    command = [tool, "run", url, "--exclude-checks", ",".join(BY_DESIGN), *bounds]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=cluster.folder)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "Tested: 11" in done.stdout
