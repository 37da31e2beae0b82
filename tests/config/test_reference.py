"""The reference's serving JSON says the same as a config of ours, in all of the spellings that the reference reads."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfs_core.config.document import plain, read_document
from sfs_core.config.loaded import ConfigFile
from sfs_core.config.loader import load, read_config
from sfs_core.config.problems import Problems
from sfs_core.errors import ConfigError

from .conftest import NATIVE, REFERENCE, Write

FULL_REFERENCE = """\
{
  "id": "svc-demo",
  "serverConf": {
    "host": "0.0.0.0", "servicePort": 7100, "communicationPort": 7200, "metricsExposerPort": 7300,
    "brpcBuiltinServicePort": 7400, "workerNum": 9, "maxConcurrency": 64, "opExecWorkerNum": 4,
    "featureMapping": {"src_age": "age", "src_rate": "rate"}
  },
  "modelConf": {
    "modelId": "m-1", "basePath": "/cache", "sourceType": "ST_FILE", "sourcePath": "./left.tar.gz",
    "sourceSha256": "0000000000000000000000000000000000000000000000000000000000000abc", "fileSourceMeta": {}
  },
  "clusterConf": {
    "selfId": "left",
    "parties": [{"id": "left", "address": "10.0.0.1:7200"}, {"id": "right", "address": "http://right.example:7200"}],
    "channelDesc": {
      "protocol": "http", "rpcTimeoutMs": 3000, "connectTimeoutMs": 250, "handshakeMaxRetryCnt": 30,
      "handshakeRetryIntervalMs": 100,
      "retryPolicyConfig": {
        "retryCustom": true, "maxRetryCount": 2, "backoffMode": "EXPONENTIAL_BACKOFF",
        "exponentialBackoffConfig": {"initMs": 20, "factor": 3}
      }
    }
  },
  "featureSourceConf": {"csvOpts": {"filePath": "f.csv", "idName": "id"}}
}
"""

FULL_NATIVE = """\
service: svc-demo
party: left
listen: {host: 0.0.0.0, service: 7100, communication: 7200, metrics: 7300, health: 7400}
parties: {left: 10.0.0.1:7200, right: "http://right.example:7200"}
model:
  source: {name: local, path: ./left.tar.gz}
  sha256: "0000000000000000000000000000000000000000000000000000000000000abc"
features:
  source: {name: csv, path: f.csv, id_column: id}
  mapping: {src_age: age, src_rate: rate}
link:
  protocol: http
  timeout: 3 s
  connect_timeout: 250 ms
  handshake_attempts: 30
  handshake_interval: 0.1
  retry: {retries: 2, unavailable: yes, backoff: exponential, interval: 20 ms, factor: 3}
limits: {max_concurrency: 64}
cache: /cache
"""


def read(write: Write, content: str | dict[str, Any]) -> ConfigFile:
    return read_config(write(content if isinstance(content, str) else json.dumps(content)))


def changed(path: str, value: Any) -> dict[str, Any]:
    """The reference's config with one field set."""
    document: dict[str, Any] = json.loads(REFERENCE)
    *outer, last = path.split(".")
    block = document
    for step in outer:
        block = block.setdefault(step, {})
    block[last] = value
    return document


@pytest.mark.parametrize(("ours", "theirs"), [(NATIVE + "cache: cache", REFERENCE), (FULL_NATIVE, FULL_REFERENCE)])
def test_both_formats_say_the_same(
    ours: str, theirs: str, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ours = ours.replace("127.0.0.1:9120", '"http://127.0.0.1:9120"')
    assert read(write, ours).config == read(write, theirs).config
    assert load(write(ours)).services == load(write(theirs)).services


def _snake_case(value: Any) -> Any:
    if isinstance(value, dict):
        keys = {key: "".join(f"_{c.lower()}" if c.isupper() else c for c in key) for key in value}
        return {(key if key.startswith("src_") else keys[key]): _snake_case(child) for key, child in value.items()}
    return [_snake_case(child) for child in value] if isinstance(value, list) else value


def test_spellings_of_the_same(write: Write) -> None:
    plain = read(write, FULL_REFERENCE).config
    text = FULL_REFERENCE
    for other in (
        json.dumps(_snake_case(json.loads(text))),
        json.dumps(json.loads(text)),
        json.dumps(json.loads(text), indent="\t"),
        text.replace('": ', '":').replace(", ", ","),
        text.replace("}\n", "},\n").replace("},\n}", "}\n}").removesuffix(",\n") + "\n",
        text.replace("7100", '"7100"').replace("3000", "3e3").replace("7200,", "7200.0,"),
        text.replace("true", '"true"').replace('"EXPONENTIAL_BACKOFF"', "2").replace('"ST_FILE"', "1"),
        text.replace("true", '"True"').replace('"EXPONENTIAL_BACKOFF"', '"2"').replace('"ST_FILE"', "1.0"),
        text.replace("true", '"1"').replace("7100", '"+7100"').replace('"http"', '"HTTP"'),
        text.replace("./left.tar.gz", ".\\/left.tar.gz").replace('"svc', '"\\u0073vc'),
        text.replace('"fileSourceMeta": {}', '"ossSourceMeta": null, "httpSourceMeta": null'),
    ):
        assert read(write, other).config == plain, other


def test_characters_beyond_u_ffff(write: Write) -> None:
    path = read(write, changed("modelConf.sourcePath", "\U0001f600 \\ud83d")).config.services[0].model.source.path
    assert path == "\U0001f600 \\ud83d"


def test_defaults_are_the_reference_s(write: Write) -> None:
    config = read(write, REFERENCE).config
    assert (config.link.protocol, config.link.timeout, config.link.connect_timeout) == ("baidu_std", 2.0, 0.5)
    assert (config.link.handshake_attempts, config.link.handshake_interval) == (60, 5.0)
    assert (config.link.retry.retries, config.link.retry.backoff, config.link.retry.interval) == (3, "fixed", 0.01)
    assert config.limits.max_concurrency == 10_000
    document = changed("serverConf.servicePort", 0)
    assert read(write, document).config.listen.service is None


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"maxRetryCount": 0}, {"retries": 3}),
        ({"maxRetryCount": -1}, {"retries": 0}),
        ({"backoffMode": "INVALID_MODE"}, {"backoff": "fixed", "interval": 0.01}),
        ({"fixedBackoffConfig": {"intervalMs": 40}}, {"backoff": "fixed", "interval": 0.04}),
        ({"backoffMode": 2}, {"backoff": "exponential", "interval": 0.01, "factor": 2}),
        ({"backoffMode": 3}, {"backoff": "random", "interval": 0.01, "longest": 0.05}),
        ({"backoffMode": 3, "randomBackoffConfig": {"minMs": 1, "maxMs": 2}}, {"interval": 0.001, "longest": 0.002}),
        ({"retryAggressive": True}, {"anything": True, "unavailable": False}),
    ],
)
def test_retry_policies(policy: dict[str, Any], expected: dict[str, Any], write: Write) -> None:
    retry = read(write, changed("clusterConf.channelDesc.retryPolicyConfig", policy)).config.link.retry
    assert {name: getattr(retry, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"mockOpts": {}}, {"name": "mock", "type": "fixed"}),
        ({"mockOpts": {"type": "MDT_RANDOM"}}, {"name": "mock", "type": "random"}),
        ({"mockOpts": {"type": 2}}, {"name": "mock", "type": "fixed"}),
        ({"csvOpts": {"filePath": "f", "idName": "k"}}, {"name": "csv", "path": "f", "id_column": "k"}),
        (
            {"streamingOpts": {"filePath": "f", "idName": "k", "fileFormat": "CSV", "blockSize": 5}},
            {"name": "streaming", "path": "f", "id_column": "k", "block_size": 5},
        ),
        (
            {"httpOpts": {"endpoint": "http://f/x", "enableLb": True, "timeoutMs": 800}},
            {"name": "http", "endpoint": "http://f/x", "resolve_all": True, "connect_timeout": 0.5, "timeout": 0.8},
        ),
    ],
)
def test_feature_sources(options: dict[str, Any], expected: dict[str, Any], write: Write) -> None:
    features = read(write, changed("featureSourceConf", options)).config.services[0].features
    assert features is not None
    given = features.source.model_dump()
    given.pop("retry", None)
    assert given == expected


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"sourceType": "ST_HTTP", "sourcePath": "u"}, {"name": "http", "connect_timeout": 60.0, "timeout": 120.0}),
        (
            {
                "sourceType": 2,
                "sourcePath": "u",
                "ossSourceMeta": {"bucket": "b", "secretKey": "s", "virtualHosted": True},
            },
            {"name": "s3", "bucket": "b", "secret_key": "s", "virtual_hosted": True},
        ),
    ],
)
def test_model_sources(model: dict[str, Any], expected: dict[str, Any], write: Write) -> None:
    source = read(write, changed("modelConf", model)).config.services[0].model.source
    assert source.model_dump() == {"path": "u", **expected}


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("id", "", "id: is missing"),
        ("id", 5, "id: a text is expected"),
        ("serverConf.host", None, "serverConf.host: is missing"),
        ("serverConf.communicationPort", 0, "serverConf.communicationPort: is missing"),
        ("serverConf.servicePort", "²", "serverConf.servicePort: a whole number of at most 32 bits is expected"),
        ("serverConf.servicePort", True, "serverConf.servicePort: a whole number of at most 32 bits is expected"),
        ("serverConf.servicePort", 1e300, "serverConf.servicePort: a whole number of at most 32 bits is expected"),
        ("serverConf.servicePort", 70000, "serverConf.servicePort: a value less than or equal to 65535"),
        ("serverConf.servicePorts", 1, "serverConf.servicePorts: there is no such option (hint: did you mean"),
        ("serverConf.service_port", 1, "serverConf.servicePort: is given twice, in two spellings"),
        ("serverConf.featureMapping", {"a": 1}, "serverConf.featureMapping.a: a text is expected"),
        ("serverConf.featureMapping", {"a": "x", "b": "x"}, "serverConf.featureMapping: several source names stand"),
        ("serverConf.tlsConfig", {}, "serverConf.tlsConfig.certificatePath: is missing"),
        ("serverConf", [], "serverConf: an object is expected"),
        ("modelConf.sourceType", "ST_DP", "modelConf.sourceType: ST_DP is not served; one of ST_FILE, ST_OSS, ST_HTTP"),
        ("modelConf.sourceType", 0, "modelConf.sourceType: one of ST_FILE, ST_OSS, ST_HTTP is expected"),
        ("modelConf.sourceType", "ST_FLIE", "modelConf.sourceType: one of INVALID_SOURCE_TYPE, ST_FILE"),
        ("modelConf.sourceType", "ST_OSS", "modelConf.ossSourceMeta: is missing"),
        ("modelConf.sourceSha256", "abc", "modelConf.sourceSha256: a text of the form"),
        ("clusterConf.selfId", "carol", "clusterConf.selfId: 'carol' is not among parties (alice, bob)"),
        ("clusterConf.parties", {}, "clusterConf.parties: a list is expected"),
        ("clusterConf.parties", [None], "clusterConf.parties[0]: an object is expected"),
        ("clusterConf.parties", [{"id": "bob"}], "clusterConf.parties[0].address: is missing"),
        (
            "clusterConf.parties",
            [{"id": "alice", "address": "a:1"}] * 2,
            "clusterConf.parties[1].id: this party is listed",
        ),
        ("clusterConf.parties", [{"id": "alice", "address": "a:1"}], "clusterConf.parties: at least 2 are expected"),
        ("clusterConf.channelDesc", {"protocol": "h2"}, "clusterConf.channelDesc.protocol: 'h2' is not spoken here"),
        (
            "clusterConf.channelDesc",
            {"tlsConfig": {"caFilePath": "none.crt"}},
            "clusterConf.channelDesc.tlsConfig.caFilePath: ",
        ),
        (
            "clusterConf.channelDesc.retryPolicyConfig",
            {"backoffMode": 3, "randomBackoffConfig": {"minMs": 90}},
            "clusterConf.channelDesc.retryPolicyConfig: longest is less than interval",
        ),
        (
            "clusterConf.channelDesc.retryPolicyConfig",
            {"retryCustom": "yes"},
            "clusterConf.channelDesc.retryPolicyConfig.",
        ),
        ("featureSourceConf", {}, "featureSourceConf: exactly one of mockOpts, httpOpts, csvOpts, streamingOpts"),
        ("featureSourceConf.mockOpts", {}, "featureSourceConf: exactly one of"),
        ("featureSourceConf.csvOpts.idName", "", "featureSourceConf.csvOpts.idName: is missing"),
        (
            "featureSourceConf",
            {"streamingOpts": {"fileFormat": "TSV"}},
            "featureSourceConf.streamingOpts.fileFormat: only",
        ),
        (
            "featureSourceConf",
            {"httpOpts": {"endpoint": "x", "tlsConfig": {"privateKeyPath": "k"}}},
            "featureSourceConf.httpOpts: `key_file` and `key_password` need `certificate_file`",
        ),
    ],
)
def test_mistakes_are_told_in_the_reference_s_terms(path: str, value: Any, expected: str, write: Write) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(json.dumps(changed(path, value), indent=1)))
    told = [problem.partition(" ")[2] if ": " in problem else problem for problem in caught.value.problems]
    wanted = expected.removeprefix(": ")
    assert any(problem.startswith(wanted) for problem in told), caught.value.problems


def test_problems_stand_where_the_field_stands(write: Write) -> None:
    path = write(FULL_REFERENCE.replace("7100", "[]").replace('"ST_FILE"', '"ST_DP"').replace('"http"', '"h2"'))
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert [problem.partition(": ")[0] for problem in caught.value.problems] == [
        f"{path}:4 serverConf.servicePort",
        f"{path}:9 modelConf.sourceType",
        f"{path}:16 clusterConf.channelDesc.protocol",
    ]


def test_a_mapping_without_a_source_is_for_features_sent_along(write: Write) -> None:
    document = changed("serverConf.featureMapping", {"a": "b"})
    del document["featureSourceConf"]
    (service,) = read(write, document).config.services
    assert service.features is not None
    assert service.features.source is None
    assert service.features.mapping == {"a": "b"}


@pytest.mark.parametrize("own", [{"id": "left"}, {"id": "left", "address": ""}])
def test_the_address_of_oneself_is_not_needed(own: dict[str, Any], write: Write) -> None:
    serving = json.loads(FULL_REFERENCE)
    parties = serving["clusterConf"]["parties"]
    parties[[party["id"] for party in parties].index("left")] = own
    assert read(write, json.dumps(serving)).config.parties["left"].address == "127.0.0.1:7200"


def test_what_has_no_effect_is_told(write: Write) -> None:
    left_over = '"dpSourceMeta": {"dmHost": "h"}, "sourcePath"'
    text = FULL_REFERENCE.replace("3000", "-1").replace('"idName"', '"streamingMode": true, "idName"')
    path = write(text.replace('"sourcePath"', left_over))
    file = read_config(path)
    assert file.config.link.timeout == 2.0
    told = [warning.removeprefix(f"{path}:") for warning in file.warnings]
    assert [warning.split()[:2] for warning in told] == [
        ["5", "serverConf.workerNum"],
        ["5", "serverConf.opExecWorkerNum"],
        ["16", "clusterConf.channelDesc.rpcTimeoutMs"],
        ["9", "modelConf.dpSourceMeta"],
        ["24", "featureSourceConf.csvOpts.streamingMode"],
    ]


def test_relative_paths_are_relative_to_where_the_server_runs(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert read(write, REFERENCE).base_directory == tmp_path / "elsewhere"
    assert read(write, REFERENCE).config.cache == tmp_path / "elsewhere" / "cache"
    assert read(write, NATIVE).base_directory == tmp_path


def test_bulk_scoring_is_turned_on_from_outside(write: Write) -> None:
    for text in (NATIVE, REFERENCE):
        bulk = read_config(write(text), bulk_requester="bob").config.bulk_scoring
        assert bulk is not None
        assert bulk.requester == "bob"


def test_access_keys_are_not_shown(write: Write) -> None:
    meta = {"accessKey": "AKIA-hunter2", "secretKey": "hunter2", "endpoint": 5, "buckets": "hunter2"}
    with pytest.raises(ConfigError) as caught:
        load(write(json.dumps(changed("modelConf", {"sourceType": "ST_OSS", "ossSourceMeta": meta}))))
    told = "\n".join([str(caught.value), *caught.value.problems])
    assert "hunter2" not in told


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [("store:9000", "https://store:9000"), ("http://store:9000", "http://store:9000"), ("", "")],
)
def test_object_stores_are_spoken_to_over_https_unless_http_is_asked_for(
    endpoint: str, expected: str, write: Write
) -> None:
    meta = {"accessKey": "a", "secretKey": "b", "virtualHosted": True, "endpoint": endpoint, "bucket": "models"}
    model = {"sourceType": "ST_OSS", "sourcePath": "key", "ossSourceMeta": meta}
    loaded = load(write(json.dumps(changed("modelConf", model))))
    options: Any = loaded.services[0].model_options
    assert (options.endpoint, options.virtual_hosted, options.bucket) == (expected, True, "models")
    assert options.secret_key.get_secret_value() == "b"
    assert any("over https" in warning for warning in loaded.file.warnings) == (endpoint == "store:9000")


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0${"), max_size=20)


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.booleans(), st.integers(min_value=1, max_value=65535))
def test_json_s_texts_arrive_as_they_were(text: str, ascii_only: bool, port: int) -> None:
    document = {"text": text, text + "key": [text, port, None, True]}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.json"
        path.write_text(json.dumps(document, ensure_ascii=ascii_only), encoding="utf-8")
        assert plain(read_document(path, Problems(path))) == document
