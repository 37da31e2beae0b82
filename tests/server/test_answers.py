"""Answers that cannot be written: their callers get an error, and nobody else notices. What answers leave behind."""

from __future__ import annotations

import gc
import json
from pathlib import Path

from tests.support.clusters import exchange, linear_files
from tests.support.in_process import serving_here
from tests.support.processes import wait_for

IDS = ["good", "odd"]
PLUGIN = '''
import numpy as np
from sfs_core import Batch, FeatureResult, FeatureSource, FeatureSourceSpec, hookimpl

SFS_API = ">=1,<2"


class Odd(FeatureSource):
    """Gives 1 for every feature, and for one id a header entry that is no Unicode text."""

    def fetch_rows(self, query):
        columns = [np.ones(len(query.ids)) for _ in self.schema.names]
        headers = {"x": "\\ud800"} if "odd" in query.ids else {}
        return FeatureResult(Batch.from_columns(self.schema, columns, len(query.ids)), headers)


@hookimpl
def sfs_feature_sources():
    return [FeatureSourceSpec("odd", f"{__name__}:Odd", "headers that are no text")]
'''


def calls_remembered() -> int:
    """How many calls to Predict this process holds on to."""
    return sum(type(each).__qualname__ == "_Call" for each in gc.get_objects())


def test_a_header_entry_that_is_no_text_ends_in_an_error(tmp_path: Path) -> None:
    files = linear_files(tmp_path, IDS, {"alice": {"a": [1.0, 1.0]}, "bob": {"b": [1.0, 1.0]}})
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "odd.py").write_text(PLUGIN)
    files.configs["alice"]["plugins"] = {"directories": ["plugins"]}
    files.configs["alice"]["services"][0]["features"] = {"source": {"name": "odd"}}
    with serving_here(files):
        port = files.service_port("alice")
        for id_, status in (("good", 200), ("odd", 500), ("good", 200)):
            params = {party: {"query_datas": [id_]} for party in files.configs}
            body = json.dumps({"service_spec": {"id": "linear"}, "fs_params": params}).encode()
            answer = exchange(port, "/PredictionService/Predict", body, headers={"Content-Type": "application/json"})
            assert answer.status == status


def test_calls_are_forgotten_without_a_collection_of_garbage(tmp_path: Path) -> None:
    """Which would stop everything else for as long as it takes."""
    files = linear_files(tmp_path, IDS, {"alice": {"a": [1.0, 1.0]}, "bob": {"b": [1.0, 1.0]}})
    params = {party: {"query_datas": IDS} for party in files.configs}
    body = json.dumps({"service_spec": {"id": "linear"}, "fs_params": params}).encode()
    with serving_here(files):
        gc.collect()
        gc.disable()
        others = calls_remembered()
        try:
            for _ in range(3):
                answer = exchange(
                    files.service_port("alice"),
                    "/PredictionService/Predict",
                    body,
                    headers={"Content-Type": "application/json", "X-Request-Timeout": "100"},
                )
                assert answer.code == 1
            wait_for(lambda: calls_remembered() <= others, "calls are forgotten", 60)
        finally:
            gc.enable()
