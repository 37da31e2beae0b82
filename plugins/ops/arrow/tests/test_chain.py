"""Chains of nodes as one function: the same tables as node by node, and only where no other table is hidden."""

from __future__ import annotations

import csv

import pyarrow as pa
import pytest
from sfs_op_arrow.operator import ArrowProcessing

from sfs_core import Batch, ComputeContext, ExecutionView, NodeSpec, Projector, Schema, SfsError
from sfs_core.model.package import read_package

CONTEXT = ComputeContext("alice", "alice")
XY = pa.schema([("x", pa.float64()), ("y", pa.float64())])


def by_arrow(operators, table):
    """Node by node, without functions over rows."""
    for operator in operators:
        table = Projector(operator.input_schemas()[0])(table)
        table = table if operator._program is None else operator._program.run(table)
    return table


def values(table):
    return table.schema, repr(table.to_arrow().to_pylist())


# ---------------------------------------------------------------------- recorded packages
CHAINS = {
    "packages/post_scorecard_full": 2,
    "packages/pre_binq_onehot_glm": 3,
    "packages/pre_casewhen_glm": 3,
    "packages/pre_fillna_float_glm": 4,
    "packages/pre_ops_sgd": 5,
    "packages/sf_bin_onehot_glm": 3,
    "reference_ci/glm": 3,
}


@pytest.mark.parametrize("case", CHAINS)
def test_recorded_chains(case, cases):
    for path in sorted((cases / case).glob("*.tar.gz")):
        nodes = [node for node in read_package(path).graph.nodes.values() if node.op == "ARROW_PROCESSING"]
        operators = {node.name: ArrowProcessing(node) for node in nodes[: CHAINS[case]]}
        last = nodes[CHAINS[case] - 1].name
        (fusion,) = ArrowProcessing.fuse(ExecutionView(operators, (last,)))
        assert (fusion.nodes, fusion.parents, fusion.outputs) == (tuple(operators), (None,), (last,))
        schema = fusion.schemas[0]
        rows = feature_rows(path.parent / f"{path.name.split('.')[0]}.csv", schema)
        for count in {1, 10, 150, 151, len(rows)}:
            part = [rows[i % len(rows)] for i in range(count)]
            table = Batch(schema, count, rows=part)
            (found,) = fusion.compute(CONTEXT, table)
            assert found.form == ("rows" if count <= 150 else "columns")
            assert values(found) == values(by_arrow(operators.values(), table))


def feature_rows(path, schema):
    makers = [float if pa.types.is_floating(t) else int if pa.types.is_integer(t) else str for t in schema.types]
    with path.open() as file:
        rows = [tuple(m(row[n]) for m, n in zip(makers, schema.names, strict=True)) for row in csv.DictReader(file)]
    return Batch.from_rows(schema, rows).rows()  # float32 values become such


# ----------------------------------------------------------------------------- made here
def node(record, name, parents, change, output=XY, schema=XY):
    recorder = record(schema)
    change(recorder)
    made = recorder.operator(output)
    return ArrowProcessing(NodeSpec(name, "ARROW_PROCESSING", "0.0.1", tuple(parents), made.node.attributes))


def divide(recorder):
    recorder.set(0, "x", recorder.call("divide", recorder.column(0), recorder.column(1)))


def swap(recorder):
    x, y = recorder.column(0), recorder.column(1)
    recorder.set(0, "y", y)
    recorder.set(1, "x", x)


def unknown_to_rows(recorder):
    recorder.set(0, "x", recorder.call("sin", recorder.column(0)))


def fused(operators, *outputs):
    return [
        fusion.nodes for fusion in ArrowProcessing.fuse(ExecutionView({o.node.name: o for o in operators}, outputs))
    ]


def test_columns_go_by_name_and_unneeded_ones_stay_out(record):
    yx = pa.schema([("y", pa.float64()), ("x", pa.float64())])
    first = node(record, "a", [], swap, output=yx)
    second = node(record, "b", ["a"], divide)
    (fusion,) = ArrowProcessing.fuse(ExecutionView({"a": first, "b": second}, ("b",)))
    table = Batch(Schema.from_arrow(XY), 2, rows=[(1.0, 4.0), (3.0, 2.0)])
    assert fusion.compute(CONTEXT, table)[0].rows() == [(0.25, 4.0), (1.5, 2.0)]


def test_what_the_function_gives_up_on_is_computed_node_by_node(record):
    operators = [node(record, "a", [], divide), node(record, "b", ["a"], divide)]
    (fusion,) = ArrowProcessing.fuse(ExecutionView({o.node.name: o for o in operators}, ("b",)))
    arrays = [pa.array([1.0, None, 3.0]), pa.array([2.0, 5.0, 0.0])]
    for table in (
        Batch(Schema.from_arrow(XY), 2, rows=[(1.0, 2.0), (3.0, 0.0)]),
        Batch.from_arrow(pa.RecordBatch.from_arrays(arrays, schema=XY)),
    ):
        (found,) = fusion.compute(CONTEXT, table)
        assert values(found) == values(by_arrow(operators, table))


def test_errors_have_the_node(record):
    schema = pa.schema([("n", pa.int64())])

    def inverse(recorder):
        recorder.set(0, "n", recorder.call("divide", 1, recorder.column(0)))

    operators = {n: node(record, n, p, inverse, schema, schema) for n, p in [("a", []), ("b", ["a"])]}
    (fusion,) = ArrowProcessing.fuse(ExecutionView(operators, ("b",)))
    assert fusion.compute(CONTEXT, Batch(Schema.from_arrow(schema), 1, rows=[(-1,)]))[0].rows() == [(-1,)]
    for value, name in ((0, "a"), (5, "b")):
        with pytest.raises(SfsError) as caught:
            fusion.compute(CONTEXT, Batch(Schema.from_arrow(schema), 2, rows=[(1,), (value,)]))
        assert (caught.value.node, caught.value.where) == (name, "row 1")


def test_which_nodes_are_fused(record):
    def make(name, parents=(), change=divide, output=XY, schema=XY):
        return node(record, name, parents, change, output, schema)

    a, b, c, d = make("a"), make("b", ["a"]), make("c", ["b"]), make("d", ["a"])
    assert fused([a, b, c], "c") == [("a", "b", "c")]
    assert fused([a], "a") == []
    assert fused([a, b, c], "b", "c") == [("a", "b")]
    assert fused([a, b, d], "b", "d") == []
    assert fused([a, b, c, d], "c", "d") == [("b", "c")]
    assert fused([make("z", ["elsewhere"]), make("b", ["z"])], "b") == [("z", "b")]
    between = make("between", ["a"], unknown_to_rows)
    assert fused([a, between, make("y", ["between"]), make("z", ["y"])], "z") == [("y", "z")]
    wrong = make("wrong", ["a"], output=pa.schema([("x", pa.float64())]))
    assert fused([a, wrong, make("z", ["wrong"])], "z") == []
    others = (
        pa.schema([("x", pa.float32()), ("y", pa.float64())]),
        pa.schema([("x", pa.float64()), ("w", pa.float64())]),
    )
    for other in others:
        assert fused([a, make("b", ["a"], output=pa.schema([]), schema=other)], "b") == []
