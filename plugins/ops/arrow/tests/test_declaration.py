"""What the plugin declares."""

import json
import subprocess
import sys

import sfs_op_arrow
from sfs_op_arrow.operator import ArrowProcessing


def test_definition_equals_the_reference_s(cases):
    definitions = json.loads((cases / "opdefs.json").read_text())["ops"]
    (wanted,) = [d for d in definitions if d["name"] == "ARROW_PROCESSING"]
    found = ArrowProcessing.definition
    assert (found.name, found.version, found.output) == (
        "ARROW_PROCESSING",
        wanted["version"],
        wanted["output"]["name"],
    )
    assert [{"name": name} for name in found.inputs] == wanted["inputs"]
    assert {"returnable": found.returnable} == wanted["tag"]
    types = {"by": "AT_BYTES", "b": "AT_BOOL"}
    assert {a.name: types[a.case] for a in found.attributes} == {a["name"]: a["type"] for a in wanted["attrs"]}
    defaults = {a.name: a.default for a in found.attributes if a.default in (b"", False)}
    assert defaults == {"trace_content": b"", "content_json_flag": False}


def test_spec_names_the_operator():
    (spec,) = sfs_op_arrow.sfs_operators()
    assert spec.name == ArrowProcessing.definition.name
    assert spec.factory == f"{ArrowProcessing.__module__}:{ArrowProcessing.__name__}"


def test_declaration_does_not_load_arrow():
    code = "import sfs_op_arrow, sys; sfs_op_arrow.sfs_operators(); print('pyarrow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
