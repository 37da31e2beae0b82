"""Kuscia's documents say what the reference reads in them, and every mistake is told where it stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sfs_core.config.loaded import LoadedConfig
from sfs_core.config.loader import load
from sfs_core.errors import ConfigError
from tests.support.kuscia import document, party_config

from .conftest import Write

BOTH = {"alice": party_config(), "bob": party_config("bob.tar.gz")}
OSS = {"accessKey": "canary-access", "secretKey": "canary-secret", "endpoint": "https://oss:9000", "bucket": "b"}
KEYS = ("serving_id", "input_config", "cluster_def", "allocated_ports")


def model(kind: str, **more: Any) -> dict[str, Any]:
    return {"modelId": "m", "basePath": "cache", "sourcePath": "http://models/m", "sourceType": kind} | more


def alice(**more: Any) -> dict[str, Any]:
    return {**BOTH, "alice": party_config(**more)}


HTTP_FEATURES = {"httpOpts": {"endpoint": "http://features/get", "timeoutMs": 800}}
CSV = {"csvOpts": {"filePath": "f.csv", "idName": "id"}}
DOCUMENTS = {
    "mock": document(BOTH),
    "csv and mapping": document(
        alice(featureSourceConfig=CSV, serverConfig={"featureMapping": {"source": "model"}, "maxConcurrency": "9"})
    ),
    "object storage": document(alice(modelConfig=model("ST_OSS")), oss_meta=OSS),
    "model over http": document(alice(modelConfig=model("ST_HTTP")), http_source_meta={"timeoutMs": 1500}),
    "features over http": document(alice(featureSourceConfig=HTTP_FEATURES)),
    "bob alone predicts": document(BOTH, predictors=["bob"]),
    "three parties": document({**BOTH, "carol": party_config("carol.tar.gz")}, own=2, predictors=["alice", "carol"]),
    "least ports": document(BOTH, ports={"service": 1, "communication": 2}),
    "retries": document(alice(channelDesc={"protocol": "baidu_std", "retryPolicyConfig": {"maxRetryCount": 5}})),
    "snake case": document(
        {
            party: {"model_config": {"source_path": f"{party}.tar.gz", "source_type": 1}, "server_config": {}}
            for party in BOTH
        }
    ),
}


def loaded(write: Write, name: str) -> LoadedConfig:
    return load(write(json.dumps(DOCUMENTS[name])))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_load_unchanged(name: str, write: Write) -> None:
    config = loaded(write, name).config
    assert [each.service for each in config.services] == ["svc"]
    assert config.listen.host == "0.0.0.0"
    assert config.party == ("carol" if name == "three parties" else "alice")
    assert list(config.parties) == ["alice", "bob", "carol"][: 3 if name == "three parties" else 2]
    assert config.parties["bob"].address == "http://serving-communication.bob.svc"


def test_ports_by_name(write: Write) -> None:
    listen = loaded(write, "mock").config.listen
    assert (listen.service, listen.communication, listen.metrics, listen.health) == (7100, 7200, 7300, 7400)
    assert loaded(write, "bob alone predicts").config.listen.service is None
    listen = loaded(write, "least ports").config.listen
    assert (listen.service, listen.communication, listen.metrics, listen.health) == (1, 2, None, None)


def test_what_stands_outside_input_config_goes_where_it_belongs(write: Write) -> None:
    options: Any = loaded(write, "object storage").services[0].model_options
    assert (options.endpoint, options.secret_key.get_secret_value()) == ("https://oss:9000", "canary-secret")
    assert loaded(write, "model over http").services[0].model_options.timeout == 1.5  # type: ignore[attr-defined]
    features: Any = loaded(write, "features over http").services[0].feature_sources[0].options
    assert (features.endpoint, features.timeout) == ("http://features/get", 0.8)
    service = loaded(write, "csv and mapping").config.services[0]
    assert service.features is not None
    assert service.features.mapping == {"source": "model"}
    assert loaded(write, "csv and mapping").config.limits.max_concurrency == 9
    assert loaded(write, "retries").config.link.retry.retries == 5


def test_tls_of_feature_services(write: Write, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(
            write(
                json.dumps(
                    document(alice(featureSourceConfig=HTTP_FEATURES), spi_tls_config={"privateKeyPath": "key.pem"})
                )
            )
        )
    assert "`key_file` and `key_password` need `certificate_file`" in str(caught.value.problems)


INPUT = "input_config"
NOBODY = {"parties": [{"name": "alice"}, {"name": "bob"}]}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"serving_id": ""}, "serving_id: a text is expected"),
        ({"serving_id": 5}, "serving_id: a text is expected"),
        ({INPUT: ""}, "input_config: is missing"),
        ({INPUT: 5}, "input_config: a text that holds JSON is expected"),
        ({INPUT: "[]"}, "input_config: a text that holds a JSON object is expected"),
        ({INPUT: '{"a'}, "input_config: it is neither YAML nor JSON"),
        ({INPUT: '{"partyConfig": {}}'}, "input_config.partyConfig: there is no such option (hint: did you mean"),
        ({INPUT: '{"partyConfigs": {}}'}, "input_config.partyConfigs: there is no entry for this party, 'alice'"),
        (
            {INPUT: {"partyConfigs": alice(modelConfig={"sourceTyp": "canary-secret"})}},
            "input_config.partyConfigs.alice.modelConfig.sourceTyp: there is no such option",
        ),
        (
            {INPUT: {"partyConfigs": alice(modelConfig=model("ST_DP"))}},
            "input_config.partyConfigs.alice.modelConfig.sourceType: ST_DP is not served",
        ),
        (
            {INPUT: {"partyConfigs": alice(modelConfig=model("ST_OSS"))}},
            "oss_meta: is missing",
        ),
        (
            {INPUT: {"partyConfigs": BOTH, "predictorParties": ["dave"]}},
            "input_config.predictorParties[0]: this is no party",
        ),
        ({"cluster_def": {"parties": []}}, "cluster_def.parties: at least 2 are expected"),
        ({"cluster_def": NOBODY}, "cluster_def.parties[0].services: an endpoint"),
        ({"cluster_def": {"party": []}}, "cluster_def.party: there is no such option"),
        (
            {"cluster_def": {**json.loads(DOCUMENTS["mock"]["cluster_def"]), "selfPartyIdx": 2}},
            "cluster_def.selfPartyIdx: a position in parties, 0 to 1, is expected",
        ),
        ({"allocated_ports": {"ports": []}}, "allocated_ports.ports: a port with the name communication is needed"),
        (
            {"allocated_ports": {"ports": [{"name": "communication", "port": 5}]}},
            "allocated_ports.ports: a port with the name service is needed",
        ),
        ({"oss_meta": {"secretKeys": "canary-secret"}}, "oss_meta.secretKeys: there is no such option"),
    ],
)
def test_mistakes_have_a_place(changes: dict[str, Any], expected: str, write: Write) -> None:
    text = {name: value if isinstance(value, str | int) else json.dumps(value) for name, value in changes.items()}
    path = write(json.dumps({**DOCUMENTS["mock"], **text}, indent=1))
    with pytest.raises(ConfigError) as caught:
        load(path)
    told = [problem.removeprefix(f"{path}:").partition(" ") for problem in caught.value.problems]
    assert any(text.startswith(expected) for _, _, text in told), caught.value.problems
    assert all(line.isdigit() for line, _, _ in told)
    assert "canary" not in str(caught.value) + str(caught.value.problems)


@pytest.mark.parametrize("name", KEYS)
def test_keys_that_are_missing_are_named(name: str, write: Write) -> None:
    given = {key: value for key, value in DOCUMENTS["mock"].items() if key != name}
    with pytest.raises(ConfigError) as caught:
        load(write(json.dumps(given)), kuscia=True)
    assert any(f" {name}: " in problem for problem in caught.value.problems)


def test_the_line_of_a_mistake_inside_a_text(write: Write) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(json.dumps({**DOCUMENTS["mock"], "oss_meta": '{\n"bucket": "b",\n"canary-secret\n'})))
    assert "of this text" in str(caught.value.problems)
    assert "canary" not in str(caught.value.problems)


def test_placeholders_cannot_break_out(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSS_SECRET", 'canary", "bucket": "other')
    meta = {**OSS, "secretKey": "${env:OSS_SECRET}"}
    options: Any = load(write(json.dumps(document(alice(modelConfig=model("ST_OSS")), oss_meta=meta))))
    options = options.services[0].model_options
    assert (options.bucket, options.secret_key.get_secret_value()) == ("b", 'canary", "bucket": "other')


def test_keys_that_nobody_reads_are_told(write: Write) -> None:
    path = write(json.dumps({**DOCUMENTS["mock"], "task_id": "t"}))
    assert f"{path}:1 task_id is not read" in load(path).file.warnings
