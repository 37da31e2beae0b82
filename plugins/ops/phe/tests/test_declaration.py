"""What the plugin declares: light to import, and equal to the reference's definitions."""

import json
import subprocess
import sys
from importlib import import_module

import pytest
import sfs_op_phe
from google.protobuf import json_format

from sfs_core.model.definitions import definition_message
from sfs_core.proto import op_pb2

SPECS = {spec.name: spec for spec in sfs_op_phe.sfs_operators()}


def test_declares_its_operators_without_heavy_imports():
    script = (
        "import sys, sfs_op_phe; sfs_op_phe.sfs_operators(); sys.exit(bool({'numpy', 'gmpy2'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
    assert len(SPECS) == 8


@pytest.mark.parametrize("name", SPECS)
def test_definition_is_the_reference_s(name, cases):
    module, cls = SPECS[name].factory.split(":")
    recorded = json.loads((cases / "opdefs.json").read_text())["ops"]
    (expected,) = [op for op in recorded if op["name"] == name]
    ours = definition_message(getattr(import_module(module), cls))
    assert normalized(ours) == normalized(json_format.ParseDict(expected, op_pb2.OpDef()))


def normalized(definition):
    """Without texts; the recording has inputs and attributes sorted by name."""
    for part in (definition, definition.output, *definition.inputs, *definition.attrs):
        part.desc = ""
    for items in (definition.attrs, definition.inputs):
        ordered = sorted(items, key=lambda item: item.name)
        del items[:]
        items.extend(ordered)
    return definition
