"""Recorded cases: SecretFlow's own traces and packages, and the reference's verdicts and scores."""

import base64
import csv
import json

import numpy as np
import pyarrow as pa
import pytest
from sfs_op_arrow.operator import ArrowProcessing

from sfs_core import Batch, ComputeContext, NodeSpec, Projector, Schema, SfsError, link_function
from sfs_core.model.package import read_package
from sfs_core.sdk.operator import AttributeValue

PACKAGES = [
    "packages/post_scorecard_full",
    "packages/pre_binq_onehot_glm",
    "packages/pre_casewhen_glm",
    "packages/pre_fillna_float_glm",
    "packages/pre_ops_sgd",
    "packages/pre_woe_sgd",
    "packages/sf_bin_onehot_glm",
    "reference_ci/glm",
]
CONTEXT = ComputeContext("alice", "alice")


def test_every_recorded_trace_replays_equally(cases, make):
    files = sorted((cases / "traces").glob("*.json"))
    assert len(files) == 20
    for file in files:
        case = json.loads(file.read_text())
        schemas = [base64.b64decode(case[name]) for name in ("input_schema", "output_schema")]
        table, wanted = (_only_batch(base64.b64decode(case[name])) for name in ("input_ipc", "output_ipc"))
        in_json = make(*schemas, json.dumps(case["trace"]).encode(), as_json=True)
        in_protobuf = make(*schemas, base64.b64decode(case["trace_pb"]))
        project = Projector(in_json.input_schemas()[0])
        outputs = [o.compute(CONTEXT, project(Batch.from_arrow(table))).to_arrow() for o in (in_json, in_protobuf)]
        for found in outputs:
            assert found.schema.equals(wanted.schema), file.name
            for name, ours, theirs in zip(wanted.schema.names, found.columns, wanted.columns, strict=True):
                _assert_equal(ours, theirs, f"{file.name} {name}")


def test_recorded_traces_over_rows_equal_arrow(cases, make):
    computed = set()
    for file in sorted((cases / "traces").glob("*.json")):
        case = json.loads(file.read_text())
        schemas = [base64.b64decode(case[name]) for name in ("input_schema", "output_schema")]
        operator = make(*schemas, json.dumps(case["trace"]).encode(), as_json=True)
        whole = Projector(operator.input_schemas()[0])(
            Batch.from_arrow(_only_batch(base64.b64decode(case["input_ipc"])))
        )
        for row in range(whole.num_rows if operator._by_rows else 0):
            table = whole.take([row])
            found = operator._by_rows.run(table)
            if found is not None:
                computed.add(file.stem)
                assert repr(found.to_arrow().to_pylist()) == repr(operator._program.run(table).to_arrow().to_pylist())
    assert computed >= {"arith_scalars", "case_when_many_bins", "compare_bool_ifelse", "onehot_string", "table_ops"}


def _only_batch(data):
    (batch,) = pa.ipc.open_stream(data).read_all().combine_chunks().to_batches()
    return batch


def _assert_equal(ours, theirs, where):
    if not pa.types.is_floating(ours.type):
        assert ours.equals(theirs), where
        return
    assert ours.is_null().equals(theirs.is_null()), where
    pair = [column.to_numpy(zero_copy_only=False) for column in (ours, theirs)]
    np.testing.assert_allclose(*pair, rtol=1e-12, err_msg=where)


def test_graph_verdicts(cases):
    lines = (cases / "graphs" / "graph_cases.jsonl").read_text().splitlines()
    graphs = [case for case in map(json.loads, lines) if case["name"].startswith(("arrow_", "trace_"))]
    assert len(graphs) == 49
    between_nodes = {"arrow_out_missing_feature", "arrow_int_to_double_dot"}  # the graph's validator sees these
    for case in graphs:
        loads = all(_loads(node) for node in case["graph"]["node_list"] if node["op"] == "ARROW_PROCESSING")
        assert loads == (case["valid"] or case["name"] in between_nodes), case["name"]


def _loads(node):
    values = {name: next(iter(value.items())) for name, value in node["attr_values"].items()}
    attributes = {
        name: AttributeValue(kind, base64.b64decode(value) if kind == "by" else value)
        for name, (kind, value) in values.items()
    }
    try:
        ArrowProcessing(NodeSpec(node["name"], node["op"], node["op_version"], (), attributes))
    except SfsError:
        return False
    return True


@pytest.mark.parametrize("case", PACKAGES)
def test_scores_equal_the_reference_engine_s(case, cases):
    folder = cases / case
    with next(folder.glob("cpp_score_*.csv")).open() as file:
        expected = {row["id"]: float(row["score"]) for row in csv.DictReader(file)}
    graphs = {path.name.split(".")[0]: read_package(path).graph for path in sorted(folder.glob("*.tar.gz"))}
    partials = {name: _partial_y(graph, folder / f"{name}.csv", list(expected)) for name, graph in graphs.items()}
    for requester, graph in graphs.items():
        total = sum([partials[requester], *[p for name, p in partials.items() if name != requester]])
        scores = _after_merge(graph, total)
        np.testing.assert_allclose(scores, list(expected.values()), rtol=1e-9)


def _partial_y(graph, path, ids):
    """A party's nodes up to its DOT_PRODUCT."""
    table = None
    for node in graph.nodes.values():
        if node.op == "DOT_PRODUCT":
            values = {name: attribute.value for name, attribute in node.attributes.items()}
            columns = [table.float64(table.schema.index[name]) for name in values["feature_names"]]
            start = np.full(table.num_rows, values.get("intercept", 0.0))
            return sum((c * w for c, w in zip(columns, values["feature_weights"], strict=True)), start=start)
        operator = ArrowProcessing(node)
        schema = operator.input_schemas()[0]
        table = _features(path, schema, ids) if table is None else table
        table = operator.compute(CONTEXT, Projector(schema)(table))
    raise AssertionError("no DOT_PRODUCT")


def _features(path, schema, ids):
    with path.open() as file:
        reader = csv.DictReader(file)
        rows = {row[reader.fieldnames[0]]: row for row in reader}
    makers = [float if pa.types.is_floating(t) else int if pa.types.is_integer(t) else str for t in schema.types]
    return Batch.from_rows(
        schema, [tuple(m(rows[i][name]) for m, name in zip(makers, schema.names, strict=True)) for i in ids]
    )


def _after_merge(graph, total):
    """MERGE_Y, and what stands behind it."""
    nodes = list(graph.nodes.values())
    (merge_at,) = [i for i, node in enumerate(nodes) if node.op == "MERGE_Y"]
    values = {name: attribute.value for name, attribute in nodes[merge_at].attributes.items()}
    link = link_function(values["link_function"], values.get("exp_iters", 0))
    scores = link.many(total) * values.get("yhat_scale", 1.0)
    table = Batch.from_columns(Schema([(values["output_col_name"], pa.float64())]), [scores], len(scores))
    for node in nodes[merge_at + 1 :]:
        operator = ArrowProcessing(node)
        table = operator.compute(CONTEXT, Projector(operator.input_schemas()[0])(table))
    return table.float64(0)
