"""What the plugin declares: light to import, and equal to the reference's definitions."""

import json
import subprocess
import sys

import pytest
import sfs_op_tree
from google.protobuf import json_format
from sfs_op_tree.ensemble import TreeEnsemblePredict
from sfs_op_tree.merge import TreeMerge
from sfs_op_tree.select import TreeSelect

from sfs_core.model.definitions import definition_message
from sfs_core.proto import op_pb2


def test_declares_its_operators_without_heavy_imports():
    script = "import sys, sfs_op_tree; sfs_op_tree.sfs_operators(); sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
    assert [spec.name for spec in sfs_op_tree.sfs_operators()] == ["TREE_SELECT", "TREE_MERGE", "TREE_ENSEMBLE_PREDICT"]


@pytest.mark.parametrize("cls", [TreeSelect, TreeMerge, TreeEnsemblePredict])
def test_definition_is_the_reference_s(cls, cases):
    recorded = json.loads((cases / "opdefs.json").read_text())["ops"]
    (expected,) = [op for op in recorded if op["name"] == cls.definition.name]
    assert _without_texts(definition_message(cls)) == _without_texts(json_format.ParseDict(expected, op_pb2.OpDef()))


def _without_texts(definition):
    for part in (definition, definition.output, *definition.inputs, *definition.attrs):
        part.desc = ""
    attributes = sorted(definition.attrs, key=lambda attribute: attribute.name)
    del definition.attrs[:]
    definition.attrs.extend(attributes)
    return definition
