"""Which offers to compute several nodes at once are taken, and what happens when one gives up, on hand-made nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

from sfs_core import (
    Batch,
    BlockLayout,
    ComputeContext,
    ErrorCode,
    ExecutionView,
    Fusion,
    GraphError,
    NodeSpec,
    Operator,
    PluginError,
    Schema,
    SfsError,
    TableBlock,
)
from sfs_core.engine.plan import Plan
from sfs_core.model.graph import Dispatch, Execution
from sfs_core.model.validation import CheckedExecution

CONTEXT = ComputeContext("alice", "alice")
X = Schema([("x", pa.float64())])
TEXT, OTHER_TEXT = Schema([("text", pa.binary())]), Schema([("other", pa.binary())])


class Add(Operator, name="ADD", version="1", inputs=["*args"], output="x", variable_inputs=True):
    """One more than the sum of its parents; refuses negative numbers."""

    offers: ClassVar[Callable[[ExecutionView], Iterable[Fusion]]] = lambda view: ()

    def input_schemas(self) -> list[Schema]:
        return [X] * max(len(self.node.parents), 1)

    def output_schema(self) -> Schema:
        return X

    def compute(self, context: ComputeContext, *xs: Batch) -> Batch:
        total = sum(x.rows()[0][0] for x in xs)
        self.require(total >= 0, "negative")
        return table(total + 1)

    @classmethod
    def fuse(cls, execution: ExecutionView) -> Iterable[Fusion]:
        return cls.offers(execution)


class Other(Add, name="OTHER", version="1", inputs=["*args"], output="x", variable_inputs=True):
    """The same, but it offers nothing."""

    @classmethod
    def fuse(cls, execution: ExecutionView) -> Iterable[Fusion]:
        return ()


@pytest.fixture(autouse=True)
def offers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has `Add` offer fusions, made from nodes, parents and outputs."""

    def offer(*fusions: Fusion) -> None:
        monkeypatch.setattr(Add, "offers", lambda view: fusions)

    return offer


def table(value: float, rows: int = 1) -> Batch:
    return Batch(X, rows, rows=[(value,)] * rows)


def fusion(nodes: str, parents: Sequence[str | None], outputs: str, compute: Any = None, **more: Any) -> Fusion:
    """Nodes and outputs are single letters; the function returns 100, 101, …"""
    return Fusion(
        nodes=tuple(nodes),
        parents=tuple(parents),
        schemas=more.pop("schemas", (X,) * len(parents)),
        outputs=tuple(outputs),
        compute=compute or (lambda context, *xs: [table(100.0 + i) for i in range(len(outputs))]),
        **more,
    )


def plan(graph: Mapping[str, str], outputs: str, *, outside: str = "", other: str = "", fuse: bool = True) -> Plan:
    """A plan of single-letter nodes, each with its parents; those in `other` are of another class."""
    operators: dict[str, Operator] = {
        name: (Other if name in other else Add)(NodeSpec(name, "ADD", "1", tuple(parents)))
        for name, parents in graph.items()
    }
    names = tuple(graph)
    checked = CheckedExecution(Execution(0, names, Dispatch.ALL), names, names, tuple(outputs), tuple(outside))
    return Plan(checked, operators, fuse=fuse)


def scores(plan: Plan, value: float = 0.0, **tables: list[Batch]) -> dict[str, float]:
    return {name: out.rows()[0][0] for name, out in plan.run(CONTEXT, table(value), tables).items()}


CHAIN = {"a": "", "b": "a", "c": "b", "d": "c"}
DIAMOND = {"a": "", "b": "a", "c": "a", "d": "bc"}


def test_without_offers_nodes_run_one_by_one() -> None:
    assert plan(CHAIN, "d").fused == ()
    assert scores(plan(CHAIN, "d")) == {"d": 4.0}


@pytest.mark.parametrize(
    ("graph", "outputs", "offered"),
    [
        (CHAIN, "d", fusion("bc", "a", "c")),
        (CHAIN, "d", fusion("abcd", [None], "d")),
        (CHAIN, "bd", fusion("abc", [None], "bc")),
        (CHAIN, "d", fusion("abc", [None], "abc")),  # more than anyone needs
        (DIAMOND, "d", fusion("bc", "a", "bc")),
        (DIAMOND, "d", fusion("bc", "aa", "bc")),
        (DIAMOND, "d", fusion("bcd", "a", "d")),
        (DIAMOND, "d", fusion("cd", "ab", "d")),
        ({"a": "z", "b": "a"}, "b", fusion("ab", "z", "b")),
    ],
)
def test_offers_that_hide_nothing_are_taken(graph, outputs, offered, offers) -> None:
    offers(offered)
    made = plan(graph, outputs, outside="z")
    assert made.fused == (offered.nodes,)
    found = scores(made, z=[table(0.0)])
    assert found.keys() == set(outputs)
    assert min(found.values()) >= 100


@pytest.mark.parametrize(
    ("graph", "outputs", "offered"),
    [
        (CHAIN, "bd", fusion("abc", [None], "c")),  # b leaves the execution
        (DIAMOND, "d", fusion("ab", [None], "b")),  # c needs a
        (DIAMOND, "d", fusion("abd", [None, "c"], "ad")),  # c must run between a and d
        (CHAIN, "d", fusion("ac", [None, "b"], "ac")),
        (CHAIN, "d", fusion("bc", "", "c")),  # without its parent
        (CHAIN, "d", fusion("bc", "ab", "c")),  # b is inside
        (CHAIN, "d", fusion("bc", ["a", None], "c")),
        (CHAIN, "d", fusion("bc", [None], "c")),
        (CHAIN, "d", fusion("bx", "a", "b")),  # no such node
        (CHAIN, "d", fusion("bc", "a", "cd")),  # d is outside
        (CHAIN, "d", fusion("bc", "a", "c", schemas=())),
        (CHAIN, "d", fusion("bc", "a", "cc")),
        (CHAIN, "d", fusion("", "", "")),
    ],
)
def test_offers_that_do_not_fit_are_left(graph, outputs, offered, offers) -> None:
    offers(offered)
    made = plan(graph, outputs)
    assert made.fused == ()
    assert scores(made) == scores(plan(graph, outputs, fuse=False))


def test_several_fusions_of_one_execution(offers) -> None:
    offers(fusion("ab", [None], "b", lambda context, x: [table(10.0)]), fusion("cd", "b", "d"))
    made = plan(CHAIN, "d")
    assert made.fused == (("a", "b"), ("c", "d"))
    assert scores(made) == {"d": 100.0}


def test_of_fusions_that_share_a_node_the_first_is_taken(offers) -> None:
    offers(fusion("bc", "a", "b"), fusion("ab", [None], "b"), fusion("bcd", "a", "d"))
    assert plan(CHAIN, "d").fused == (("a", "b"),), "the first hides c, the last shares b"


def test_fusions_that_would_wait_for_each_other_are_not_both_taken(offers) -> None:
    graph = {"a": "", "b": "a", "c": "", "d": "c"}
    crossed = [fusion("ad", [None, "c"], "ad"), fusion("bc", ["a", None], "bc")]
    offers(*crossed)
    assert plan(graph, "bd").fused == (("a", "d"),)
    assert scores(plan(graph, "bd")) == {"b": 101.0, "d": 101.0}


def test_arguments_come_in_the_order_of_the_parents(offers) -> None:
    def compute(context: ComputeContext, x: Batch, z: Batch, a: Batch) -> list[Batch]:
        return [table(x.rows()[0][0] + 10 * z.rows()[0][0] + 100 * a.rows()[0][0])]

    offers(fusion("bc", [None, "z", "a"], "c", compute))
    graph = {"a": "", "b": "a", "e": "", "c": "bz"}
    made = plan(graph, "c", outside="z")
    assert made.fused == (), "neither takes the features"
    offers(fusion("bc", ["z", "a"], "c", lambda context, z, a: compute(context, table(0.0), z, a)))
    assert scores(plan(graph, "c", outside="z"), 1.0, z=[table(3.0)]) == {"c": 230.0}


def test_mergeable_fusions_take_lists_of_tables(offers) -> None:
    def compute(context: ComputeContext, *lists: list[Batch]) -> list[Batch]:
        return [table(sum(x.rows()[0][0] for tables in lists for x in tables))]

    offers(fusion("bc", ["a", "z"], "c", compute, mergeable=True))
    graph = {"a": "", "b": "a", "c": "bz"}
    made = plan(graph, "c", outside="z")
    assert scores(made, 1.0, z=[table(3.0), table(4.0)]) == {"c": 9.0}


def gives_up(context: ComputeContext, *xs: Batch) -> None:
    return None


def refuses(context: ComputeContext, *xs: Batch) -> list[Batch]:
    raise SfsError("somewhere in here", code=ErrorCode.INVALID_ARGUMENT)


@pytest.mark.parametrize("compute", [gives_up, refuses])
def test_where_a_fusion_gives_up_its_nodes_run_one_by_one(compute, offers) -> None:
    offers(fusion("abc", [None], "c", compute))
    made = plan(CHAIN, "d")
    assert made.fused == (("a", "b", "c"),)
    assert scores(made) == {"d": 4.0}
    for value, node in ((-0.5, "a"), (-2.0, "a")):
        with pytest.raises(GraphError, match="negative") as caught:
            scores(made, value)
        assert (caught.value.node, caught.value.code) == (node, ErrorCode.LOGIC_ERROR)


def test_the_node_that_gets_unequal_tables_is_named(offers) -> None:
    graph = {"a": "y", "b": "z", "c": "ab"}
    offers(fusion("abc", "yz", "c"))
    made = plan(graph, "c", outside="yz")
    assert made.fused == (("a", "b", "c"),)
    wrong = Batch(Schema([("w", pa.float64())]), 1, rows=[(1.0,)])
    for tables, node, text in [
        ({"y": [table(1.0)], "z": [wrong]}, "b", "'x' is missing"),
        ({"y": [table(1.0)], "z": [table(1.0)] * 2}, "b", "2 tables of node 'z'"),
    ]:
        for each in (made, plan(graph, "c", outside="yz", fuse=False)):
            with pytest.raises(GraphError, match=text) as caught:
                scores(each, **tables)
            assert caught.value.node == node


def test_tables_by_party(offers) -> None:
    seen = []

    def compute(context: ComputeContext, parties: list[Mapping[str, Batch]]) -> list[Batch]:
        seen.append([{name: one.rows() for name, one in tables.items()} for tables in parties])
        return [table(70.0)]

    graph = {"a": "y", "b": "z", "c": "ab"}
    offers(fusion("abc", "yz", "c", compute, mergeable=True, by_party=True))
    made = plan(graph, "c", outside="yz")
    assert scores(made, y=[table(1.0), table(2.0)], z=[table(3.0), table(4.0)]) == {"c": 70.0}
    assert seen == [[{"y": [(1.0,)], "z": [(3.0,)]}, {"y": [(2.0,)], "z": [(4.0,)]}]]
    assert scores(made, y=[table(1.0)], z=[table(3.0)]) == {"c": 70.0}
    assert scores(made, y=[table(1.0)], z=[table(3.0, 2)]) == {"c": 7.0}, "rows differ: one by one"
    with pytest.raises(GraphError) as caught:
        scores(made, y=[table(1.0), table(2.0)], z=[table(3.0)])
    assert caught.value.node == "a"
    offers(fusion("ab", [None], "b", mergeable=True, by_party=True))
    assert plan(CHAIN, "d").fused == (), "features are no party's table"
    offers(fusion("bc", "a", "c", mergeable=True, by_party=True))
    assert plan(CHAIN, "d").fused == (), "a is of the same execution"


class Text(Operator, name="TEXT", version="1", inputs=["x"], output="text"):
    """A column of bytes: the node's name and how many rows there are."""

    def input_schemas(self) -> list[Schema]:
        return [X]

    def output_schema(self) -> Schema:
        return TEXT

    def compute(self, context: ComputeContext, x: Batch) -> Batch:
        return Batch(TEXT, x.num_rows, rows=[(f"{self.node.name}{x.num_rows}".encode(),)] * x.num_rows)

    @classmethod
    def fuse(cls, execution: ExecutionView) -> Iterable[Fusion]:
        return [fusion("ab", [None], "ab", cls.block, layout=cls.layout)]

    layout: ClassVar[BlockLayout]
    block: ClassVar[Any]


def texts(layout: BlockLayout, block: Any, outputs: str = "ab") -> tuple[Plan, Mapping[str, Batch]]:
    """A plan of two nodes that are fused to make this block, if the layout is right, and what it returns."""
    Text.layout, Text.block = layout, lambda context, x: block
    operators = {name: Text(NodeSpec(name, "TEXT", "1")) for name in "abc"}
    checked = CheckedExecution(Execution(0, tuple("abc"), Dispatch.ALL), tuple("abc"), ("c",), tuple(outputs), ())
    made = Plan(checked, operators)
    return made, made.run(CONTEXT, table(0.0, 2), {})


def test_fusions_that_return_a_block() -> None:
    layout = BlockLayout("ab", [TEXT] * 2, [1, 2])
    block = TableBlock(layout, np.frombuffer(b"xyzuvw", np.uint8).reshape(2, 3))
    made, found = texts(layout, block)
    assert made.fused == (("a", "b"),)
    assert found is block, "all that the execution returns"
    made, found = texts(layout, block, "abc")
    assert {name: out.arrow(0).to_pylist() for name, out in found.items()} == {
        "a": [b"x", b"u"],
        "b": [b"yz", b"vw"],
        "c": [b"c2", b"c2"],
    }
    singly = {"a": [b"a2", b"a2"], "b": [b"b2", b"b2"]}
    for other in (BlockLayout("ba", [TEXT] * 2, [1, 2]), BlockLayout("ab", [TEXT, OTHER_TEXT], [1, 2])):
        made, found = texts(other, block)
        assert made.fused == ()
        assert {name: out.arrow(0).to_pylist() for name, out in found.items()} == singly
    assert texts(layout, None)[1].keys() == singly.keys(), "it gives up"
    for wrong in ([table(1.0)] * 2, TableBlock(BlockLayout("ab", [TEXT] * 2, [2, 1]), block.array)):
        with pytest.raises(PluginError, match="not a TableBlock of the layout") as caught:
            texts(layout, wrong)
        assert caught.value.node == "a, b"


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ([], "list, not 2 tables"),
        ([table(1.0)], "list, not 2 tables"),
        (table(1.0), "Batch, not 2 tables"),
        ([table(1.0), None], "NoneType, not a Batch"),
        ([table(1.0), Batch(Schema([("w", pa.float64())]), 1, rows=[(1.0,)])], "it declares"),
    ],
)
def test_what_a_fusion_returns_is_checked(result, text, offers) -> None:
    offers(fusion("bc", "a", "bc", lambda context, x: result))
    with pytest.raises(PluginError, match=text) as caught:
        scores(plan(CHAIN, "d"))
    assert caught.value.node == "b, c"


def test_a_fusion_that_fails_is_told_by_its_kind_alone(offers) -> None:
    def fails(context: ComputeContext, x: Batch) -> list[Batch]:
        raise ValueError(f"secret {x.rows()}")

    offers(fusion("bc", "a", "c", fails))
    with pytest.raises(SfsError, match=r"the operator failed \(ValueError\)") as caught:
        scores(plan(CHAIN, "d"))
    assert caught.value.node == "b, c"
    assert "secret" not in str(caught.value) + caught.value.detail


def test_each_class_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[str], tuple[str, ...]]] = []
    monkeypatch.setattr(Add, "offers", lambda view: asked.append((list(view.operators), view.outputs)) or ())
    plan(CHAIN, "d", other="c")
    assert asked == [(["a", "b", "c", "d"], ("d",))]


def test_offers_that_cannot_be_made_are_the_plugin_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(view: ExecutionView) -> Iterable[Fusion]:
        raise KeyError("x")
        yield

    monkeypatch.setattr(Add, "offers", fails)
    with pytest.raises(PluginError, match=r"ADD: fuse failed \(KeyError\)"):
        plan(CHAIN, "d")
