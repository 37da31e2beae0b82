"""Kuscia's documents, as its template renders them: a JSON object of texts that hold JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def party_config(package: str = "alice.tar.gz", **more: Any) -> dict[str, Any]:
    """A party's entry in `input_config`: a model in a file and mock features, unless `more` says otherwise."""
    return {
        "serverConfig": {"featureMapping": {}, "opExecWorkerNum": 2},
        "modelConfig": {"modelId": "m", "basePath": "cache", "sourcePath": package, "sourceType": "ST_FILE"},
        "featureSourceConfig": {"mockOpts": {}},
        "channelDesc": {"protocol": "http"},
    } | more


def document(
    configs: Mapping[str, Mapping[str, Any]],
    *,
    own: int = 0,
    endpoints: Mapping[str, str] | None = None,
    predictors: Sequence[str] | None = None,
    ports: Mapping[str, int] | None = None,
    **more: Any,
) -> dict[str, str]:
    """The document of one party.

    Args:
        configs: every party's `party_config`.
        own: position of the party.
        endpoints: where parties are reached; host names as Kuscia makes them by default.
        predictors: `predictorParties`.
        ports: `allocated_ports` by name.
        more: further entries, encoded unless they are texts.
    """
    endpoints = endpoints or {party: f"serving-communication.{party}.svc" for party in configs}
    cluster = {
        "parties": [
            {
                "name": party,
                "role": "",
                "services": [
                    {"portName": "internal", "endpoints": ["unused:1"]},
                    {"portName": "communication", "endpoints": [endpoints[party]]},
                ],
            }
            for party in configs
        ],
        "selfPartyIdx": own,
        "selfEndpointIdx": 0,
    }
    ports = ports or {"service": 7100, "communication": 7200, "internal": 7300, "brpc-builtin": 7400}
    allocated = [{"name": n, "port": p, "scope": "Cluster", "protocol": "HTTP"} for n, p in ports.items()]
    inputs: dict[str, Any] = {"partyConfigs": configs}
    if predictors is not None:
        inputs["predictorParties"] = predictors
    parts = {"input_config": inputs, "cluster_def": cluster, "allocated_ports": {"ports": allocated}} | more
    texts = {name: part if isinstance(part, str) else json.dumps(part, indent=1) for name, part in parts.items()}
    return {"serving_id": "svc", "oss_meta": "", "http_source_meta": "", "spi_tls_config": ""} | texts
