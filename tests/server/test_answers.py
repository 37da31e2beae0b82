"""Answers that cannot be written: their callers get an error, and nobody else notices."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.clusters import exchange, linear_files
from tests.support.in_process import serving_here

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
