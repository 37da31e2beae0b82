"""The rules of graphs: one by one, against the reference's verdicts, and on random graphs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from sfs_core.batch import Schema
from sfs_core.errors import ErrorCode, GraphError, PluginError, SfsError
from sfs_core.host.registry import Registry
from sfs_core.model.graph import Dispatch, Execution, Graph, graph_from_message
from sfs_core.model.package import read_package
from sfs_core.model.validation import CheckedGraph, check_cluster, check_graph
from sfs_core.proto import serving_pb2
from sfs_core.sdk.operator import AttributeValue, NodeSpec

from .conftest import find_operator

ALL, ANYONE, SPECIFIED, SELF, PEER = (Dispatch(number) for number in (1, 2, 3, 4, 12))
Nodes = Mapping[str, tuple[str, tuple[str, ...]]]
VERDICTS_THAT_DIFFER = {
    "tsel_root_not_exist": "Q17",
    "tsel_leaf_not_in_nodes": "Q17",
}
"""Graphs that the reference loads and cannot serve, with the quirk's number."""
KNOWN_OPERATORS = frozenset(
    {
        "ARROW_PROCESSING",
        "DOT_PRODUCT",
        "MERGE_Y",
        "PHE_2P_DECRYPT_PEER_Y",
        "PHE_2P_DOT_PRODUCT",
        "PHE_2P_MERGE_Y",
        "PHE_2P_REDUCE",
        "PHE_2P_TREE_ENSEMBLE_MERGE",
        "PHE_2P_TREE_ENSEMBLE_PREDICT",
        "PHE_2P_TREE_MERGE",
        "PHE_2P_TREE_SELECT",
        "TREE_ENSEMBLE_PREDICT",
        "TREE_MERGE",
        "TREE_SELECT",
    }
)
"""Graphs with one of these are judged only where it is installed; any other name is one that nobody knows."""


def make(
    nodes: Mapping[str, tuple[Any, ...]],
    *executions: tuple[Dispatch, str],
    version: str = "0.2.0",
    party_num: int = 0,
) -> Graph:
    """`nodes`: name → (op, parents as words, attributes, op_version), the last two optional."""
    specs = {}
    for name, (op, parents, *rest) in nodes.items():
        attributes = dict(rest[0]) if rest else {}
        op_version = rest[1] if len(rest) > 1 else ""
        specs[name] = NodeSpec(name, op, op_version, tuple(parents.split()), attributes)
    listed = tuple(Execution(i, tuple(names.split()), dispatch) for i, (dispatch, names) in enumerate(executions))
    return Graph(version, specs, listed, party_num=party_num)


def check(nodes: Mapping[str, tuple[Any, ...]], *executions: tuple[Dispatch, str], **more: Any) -> CheckedGraph:
    return check_graph(make(nodes, *executions, **more), find_operator)


def takes(*names: str, kind: str = "double") -> dict[str, AttributeValue]:
    return {"takes": AttributeValue("ss", list(names)), "kind": AttributeValue("s", kind)}


def gives(name: str) -> dict[str, AttributeValue]:
    return {"gives": AttributeValue("s", name)}


SIMPLE = {"a": ("LOCAL", ""), "z": ("MERGE", "a")}


# ------------------------------------------------------------------ what is found
def test_simple_graph() -> None:
    checked = check(
        {"z": ("MERGE", "a", takes("part")), "a": ("LOCAL", "", takes("age") | gives("part"))},
        (ALL, "a"),
        (ANYONE, "z"),
    )
    assert checked.feature_schema is Schema([("age", pa.float64())])
    assert checked.warnings == ()
    assert set(checked.operators) == {"a", "z"}
    first, last = checked.executions
    assert (first.order, first.entry_nodes, first.exit_nodes, first.outside_parents) == (("a",), ("a",), ("a",), ())
    assert (last.order, last.entry_nodes, last.exit_nodes, last.outside_parents) == (("z",), ("z",), ("z",), ("a",))


def test_order_entries_exits_and_parents_of_executions() -> None:
    checked = check(
        {
            "z": ("JOIN", "m b"),  # takes a node of this execution and one of the first (Q22)
            "m": ("MERGE", "b"),
            "b": ("SUM", "a a"),
            "a": ("LOCAL", ""),
        },
        (ALL, "b a"),
        (SELF, "z m"),
    )
    first, last = checked.executions
    assert (first.order, first.entry_nodes, first.exit_nodes) == (("a", "b"), ("a",), ("b",))
    assert (last.order, last.entry_nodes, last.exit_nodes) == (("m", "z"), ("z", "m"), ("z",))
    assert last.outside_parents == ("b",)


def test_node_that_is_used_inside_and_later_is_an_exit() -> None:
    checked = check({"a": ("LOCAL", ""), "b": ("LOCAL", "a"), "z": ("JOIN", "a b")}, (ALL, "a b"), (SELF, "z"))
    assert checked.executions[0].exit_nodes == ("a", "b")
    assert checked.executions[1].outside_parents == ("a", "b")


def test_feature_schema_is_the_union_of_the_entry_nodes_needs() -> None:
    """Q77: the reference wants all entry nodes to need the same."""
    nodes = {
        "a": ("LOCAL", "", takes("age", "rate") | gives("y")),
        "b": ("LOCAL", "", takes("rate", "height") | gives("y")),
        "z": ("JOIN", "a b"),
    }
    features = check(nodes, (ALL, "a b"), (SELF, "z")).feature_schema
    assert sorted(features.names) == ["age", "height", "rate"]
    nodes["b"] = ("LOCAL", "", takes("rate", kind="int64"))
    with pytest.raises(GraphError, match="feature 'rate' is") as caught:
        check(nodes, (ALL, "a b"), (SELF, "z"))
    assert caught.value.code == ErrorCode.LOGIC_ERROR


def test_warnings() -> None:
    unknown = {"zeta": AttributeValue("s", ""), "beta": AttributeValue("", None)}
    nodes = {"a": ("LOCAL", "", unknown, "0.0.10"), "z": ("MERGE", "a", {}, "0.0.1")}
    newer, operator, attributes = check(nodes, (ALL, "a"), (ANYONE, "z"), version="0.10.0").warnings
    assert newer.startswith("graph version '0.10.0' is newer than 0.2.0")
    assert operator.startswith("node 'a': LOCAL '0.0.10' is newer than 0.0.2")
    assert attributes == "node 'a': LOCAL ignores its attributes 'beta', 'zeta'"


@pytest.mark.parametrize("version", ["", "0.0.1", "0.1.0", "0.2.0"])
def test_old_and_empty_versions_are_fine(version: str) -> None:
    assert check(SIMPLE, (ALL, "a"), (ANYONE, "z"), version=version).warnings == ()


# ---------------------------------------------------------------------- each rule
BOTH = ((ALL, "a"), (ANYONE, "z"))
RULES: list[tuple[str, dict[str, Any], tuple[Any, ...], int, str]] = [
    ("1 operator", {"a": ("NONE", ""), "z": ("MERGE", "a")}, BOTH, 2, "node a: no operator"),
    ("2 inputs", {"a": ("LOCAL", ""), "z": ("MERGE", "a a")}, BOTH, 3, "node z: MERGE takes 1 inputs"),
    ("4 entry", {"a": ("JOIN", ""), "z": ("MERGE", "a")}, BOTH, 7, "node a: a node without parents"),
    ("5 parent", {"a": ("LOCAL", ""), "z": ("MERGE", "b")}, BOTH, 7, "node z: its parent 'b' does not exist"),
    ("6 entry", {"a": ("LOCAL", "z"), "z": ("MERGE", "a")}, BOTH, 7, "no entry"),
    ("6 empty", {}, BOTH, 7, "no nodes"),
    ("7 exit", {"a": ("LOCAL", ""), "b": ("POST", "a"), "z": ("MERGE", "a")}, BOTH, 7, "has 2: 'b', 'z'"),
    ("8 returnable", {"a": ("LOCAL", ""), "z": ("LOCAL", "a")}, BOTH, 7, "node z: LOCAL cannot end"),
    (
        "9 cycle",
        {"a": ("LOCAL", ""), "b": ("SUM", "a c"), "c": ("SUM", "b"), "z": ("SUM", "c")},
        ((ALL, "a b c"), (ANYONE, "z")),
        7,
        "form a cycle: .*'b'.*'c'",
    ),
    (
        "9 self",
        {"a": ("LOCAL", ""), "b": ("SUM", "a b"), "z": ("SUM", "b")},
        ((ALL, "a b"), (ANYONE, "z")),
        7,
        "cycle: 'b', 'b'",
    ),
    ("11 missing", {"a": ("LOCAL", ""), "z": ("MERGE", "a", takes("x"))}, BOTH, 2, "node z: column 'x' is missing"),
    (
        "12 type",
        {"a": ("LOCAL", ""), "z": ("MERGE", "a", takes("y", kind="int64"))},
        BOTH,
        7,
        "node z: column 'y' is double in the output of node 'a', not int64",
    ),
    ("13 executions", SIMPLE, (), 7, "no executions"),
    ("14 empty", SIMPLE, ((ALL, "a z"), (ANYONE, "")), 7, "execution 1: it has no nodes"),
    ("15 unknown", SIMPLE, ((ALL, "a b"), (ANYONE, "z")), 7, "execution 0: its node 'b' does not exist"),
    ("16 twice", SIMPLE, ((ALL, "a a"), (ANYONE, "z")), 7, "execution 0: its node 'a' is listed"),
    ("16 two", SIMPLE, ((ALL, "a"), (ANYONE, "a z")), 7, "execution 1: its node 'a' is listed in execution 0"),
    (
        "17 exit",
        {"a": ("LOCAL", ""), "b": ("LOCAL", "a"), "z": ("MERGE", "b")},
        ((ALL, "a z"), (ANYONE, "b")),
        7,
        "node z: its parent 'b' runs later, in execution 1",
    ),
    (
        "18 entry",
        {"a": ("LOCAL", ""), "b": ("LOCAL", ""), "z": ("JOIN", "a b")},
        ((ALL, "a"), (ANYONE, "b z")),
        7,
        "node b: it has no parents, but is in execution 1",
    ),
    (
        "later parent",
        {"a": ("LOCAL", ""), "b": ("MERGE", "c"), "c": ("MERGE", "a"), "z": ("POST", "b")},
        ((ALL, "a"), (SELF, "b"), (ANYONE, "c z")),
        7,
        "node b: its parent 'c' runs later",
    ),
    ("20 all", {"a": ("LOCAL", ""), "b": ("LOCAL", "a"), "z": ("MERGE", "b")}, BOTH, 2, "no execution: 'b'"),
    ("21 two", SIMPLE, ((ALL, "a z"),), 7, "at least two"),
    (
        "22 equal",
        {"a": ("LOCAL", ""), "b": ("MERGE", "a"), "z": ("POST", "b")},
        ((ALL, "a"), (SELF, "b"), (SELF, "z")),
        7,
        "execution 2: it is dispatched as DP_SELF, like",
    ),
    ("23 first", SIMPLE, ((SELF, "a"), (ANYONE, "z")), 7, "first execution must be DP_ALL"),
    (
        "24 last",
        {"a": ("LOCAL", ""), "b": ("MERGE", "a"), "z": ("POST", "b")},
        ((ALL, "a"), (SELF, "b"), (ALL, "z")),
        7,
        "last execution must not be DP_ALL",
    ),
    ("25 mergeable", {"a": ("LOCAL", ""), "z": ("POST", "a")}, BOTH, 7, "node z: POST takes the table of one party"),
]


@pytest.mark.parametrize(("nodes", "executions", "code", "message"), [r[1:] for r in RULES], ids=[r[0] for r in RULES])
def test_broken_rules(nodes: dict[str, Any], executions: tuple[Any, ...], code: int, message: str) -> None:
    with pytest.raises(SfsError, match=message) as caught:
        check(nodes, *executions)
    assert caught.value.code == code


def test_ambiguous_column() -> None:
    class Twice(find_operator("LOCAL"), name="TWICE", version="1", inputs=["x"], output="y"):  # type: ignore[misc]
        def output_schema(self) -> Schema:
            return Schema([("y", pa.float64())] * 2)

    graph = make({"a": ("TWICE", ""), "z": ("MERGE", "a", takes("y"))}, *BOTH)
    with pytest.raises(GraphError, match="column 'y' is ambiguous") as caught:
        check_graph(graph, lambda name: Twice if name == "TWICE" else find_operator(name))
    assert caught.value.code == ErrorCode.UNEXPECTED_ERROR


@pytest.mark.parametrize(
    ("attributes", "code", "message"),
    [
        ({"takes": AttributeValue("s", "x")}, 7, "'takes' holds s, not ss"),
        ({"takes": AttributeValue("", None)}, 7, "'takes' holds nothing"),
    ],
)
def test_attribute_of_another_type(attributes: dict[str, AttributeValue], code: int, message: str) -> None:
    with pytest.raises(GraphError, match=message) as caught:
        check({"a": ("LOCAL", "", attributes), "z": ("MERGE", "a")}, *BOTH)
    assert (caught.value.code, caught.value.node) == (code, "a")


def test_exact_version() -> None:
    with pytest.raises(GraphError, match=r"op_version '0\.0\.1' is not served"):
        check({"a": ("EXACT", "", {}, "0.0.1"), "z": ("MERGE", "a")}, *BOTH)


@pytest.mark.parametrize(
    ("op", "message"), [("BROKEN", "broke with ZeroDivisionError"), ("MISCOUNTING", r"input_schemas\(\) has 0")]
)
def test_faulty_plugins_are_named(op: str, message: str) -> None:
    with pytest.raises(PluginError, match=f"node a: {op}: .*{message}"):
        check({"a": (op, ""), "z": ("MERGE", "a")}, *BOTH)


# -------------------------------------------------------------------- the cluster
@pytest.mark.parametrize("party_num", [0, 2, 3])
def test_party_num_may_count_all_or_the_others(party_num: int) -> None:
    """Q24: the reference compares it with the number of other parties."""
    check_cluster(check(SIMPLE, *BOTH, party_num=party_num), ["a", "b", "c"])


@pytest.mark.parametrize(
    ("executions", "party_num", "parties", "message"),
    [
        (BOTH, 4, 3, "made for 4 parties, 3 are configured"),
        (((ALL, "a"), (PEER, "z")), 0, 3, "execution 1: DP_PEER needs exactly two parties"),
        (((ALL, "a"), (Dispatch.UNKNOWN, "z")), 0, 2, "execution 1: its dispatch type is not set"),
    ],
)
def test_what_a_cluster_cannot_run(executions: Any, party_num: int, parties: int, message: str) -> None:
    """Q57: the reference fails at run time only."""
    checked = check(SIMPLE, *executions, party_num=party_num)
    with pytest.raises(GraphError, match=message) as caught:
        check_cluster(checked, [f"party{i}" for i in range(parties)])
    assert caught.value.code == ErrorCode.LOGIC_ERROR


def test_several_tables_reach_an_operator_that_takes_one_by_a_detour() -> None:
    nodes = {"a": ("LOCAL", ""), "m": ("MERGE", "a"), "z": ("SUM", "m a")}
    checked = check(nodes, (ALL, "a"), (SELF, "m"), (ANYONE, "z"))
    with pytest.raises(GraphError, match="node z: SUM takes one table, but gets one of each party from node 'a'"):
        check_cluster(checked, ["alice", "bob"])
    check_cluster(checked, ["alice"])


# ------------------------------------------------------------------ real material
def test_verdicts_of_the_reference(cases: Path, installed: Registry, is_installed: Callable[[str], bool]) -> None:
    lines = (cases / "graphs" / "graph_cases.jsonl").read_text().splitlines()
    judged, differing = 0, {}
    for case in map(json.loads, lines):
        message = json_format.ParseDict(case["graph"], serving_pb2.GraphDef())
        needs = {node.op for node in message.node_list}
        if any(op in KNOWN_OPERATORS and not is_installed(op) for op in needs):
            continue
        try:
            check_graph(graph_from_message(message), installed.operator)
            problem = ""
        except SfsError as error:
            problem = str(error)
        judged += 1
        if case["valid"] == bool(problem):
            differing[case["name"]] = problem or f"served; the reference says {case['error']}"
    unexpected = {name: text for name, text in differing.items() if name not in VERDICTS_THAT_DIFFER}
    assert not unexpected
    if is_installed("TREE_SELECT"):
        assert sorted(differing) == sorted(VERDICTS_THAT_DIFFER)
    if not judged:
        pytest.skip("no operator of the cases is installed")


def test_real_packages_keep_the_rules(cases: Path, installed: Registry, is_installed: Callable[[str], bool]) -> None:
    checked = 0
    for package in sorted(cases.glob("*/*/*.tar.gz")):
        graph = read_package(package).graph
        if all(is_installed(node.op) for node in graph.nodes.values()):
            parties = sorted(package.parent.glob("*.tar.gz"))
            found = check_graph(graph, installed.operator)
            check_cluster(found, [path.name for path in parties])
            assert found.warnings == (), package
            checked += 1
    if not checked:
        pytest.skip("no operator of the packages is installed")


# ------------------------------------------------------------------ random graphs
@st.composite
def sound_graphs(draw: st.DrawFn) -> Graph:
    """Graphs that keep all rules: layers of nodes, everything joined by the last."""
    dispatches = draw(st.lists(st.sampled_from([ALL, SELF, ANYONE, SPECIFIED]), min_size=1, max_size=3))
    layers: list[Dispatch] = [ALL]
    for dispatch in [*dispatches, SELF]:
        if dispatch is not layers[-1]:
            layers.append(dispatch)
    nodes: dict[str, tuple[str, str]] = {}
    executions = []
    for index, dispatch in enumerate(layers):
        names = [f"n{index}_{i}" for i in range(draw(st.integers(1, 4)))]
        earlier = list(nodes)
        for place, name in enumerate(names):
            if index == 0 and (place == 0 or draw(st.booleans())):
                nodes[name] = ("LOCAL", "")
                continue
            pool = earlier + names[:place]
            after_all = index > 0 and layers[index - 1] is ALL
            parents = draw(st.lists(st.sampled_from(pool), min_size=1, max_size=1 if after_all else 3))
            nodes[name] = ("MERGE" if after_all else "SUM", " ".join(parents))
        executions.append((dispatch, names))
    used = {parent for _, parents in nodes.values() for parent in parents.split()}
    if layers[-2] is ALL:  # entry nodes must merge: join inside
        last = executions[-1][1]
        loose = [name for name in nodes if name not in used and name not in last]
        for name in loose:
            nodes[f"m_{name}"] = ("MERGE", name)
            last.append(f"m_{name}")
        used |= set(loose)
    nodes["end"] = ("SUM", " ".join(name for name in nodes if name not in used))
    executions[-1][1].append("end")
    order = draw(st.permutations(list(nodes)))
    return make({n: nodes[n] for n in order}, *((d, " ".join(draw(st.permutations(ns)))) for d, ns in executions))


@settings(max_examples=150, deadline=None)
@given(sound_graphs())
def test_random_sound_graphs_pass_with_consistent_findings(graph: Graph) -> None:
    checked = check_graph(graph, find_operator)
    done: set[str] = set()
    for execution in checked.executions:
        assert set(execution.outside_parents) <= {n for e in checked.executions for n in e.exit_nodes}
        assert set(execution.outside_parents) <= done
        for name in execution.order:
            assert set(graph.nodes[name].parents) <= done
            done.add(name)
        assert sorted(execution.order) == sorted(execution.execution.nodes)
    assert done == set(graph.nodes)
    assert checked.executions[-1].exit_nodes == ("end",)


def replaced(graph: Graph, name: str, **changes: Any) -> Graph:
    nodes = dict(graph.nodes)
    node = nodes[name]
    kept = {"name": node.name, "op": node.op, "parents": node.parents}
    nodes[name] = NodeSpec(**(kept | changes))
    return Graph(graph.version, nodes, graph.executions)


@settings(max_examples=150, deadline=None)
@given(sound_graphs(), st.data())
def test_injected_faults_are_found(graph: Graph, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(graph.nodes)))
    fault = data.draw(st.sampled_from(["loop", "parent", "op", "unlisted", "twice", "first", "one", "back edge"]))
    node = graph.nodes[name]
    executions = list(graph.executions)
    home = next(i for i, execution in enumerate(executions) if name in execution.nodes)
    if fault == "loop":
        broken = replaced(graph, name, op="SUM", parents=(*node.parents, name))
    elif fault == "parent":
        broken = replaced(graph, name, op="SUM", parents=(*node.parents, "nobody"))
    elif fault == "op":
        broken = replaced(graph, name, op="NONE")
    elif fault == "back edge":
        broken = replaced(graph, name, op="SUM", parents=(*node.parents, "end"))
    else:
        nodes = executions[home].nodes
        if fault == "unlisted":
            nodes = tuple(listed for listed in nodes if listed != name)
            executions[home] = Execution(home, nodes, executions[home].dispatch)
        elif fault == "twice":
            executions[home] = Execution(home, (*nodes, name), executions[home].dispatch)
        elif fault == "first":
            executions[0] = Execution(0, executions[0].nodes, SELF)
        else:
            executions = [Execution(0, tuple(graph.nodes), ALL)]
        broken = Graph(graph.version, graph.nodes, tuple(executions))
    with pytest.raises(SfsError):
        check_graph(broken, find_operator)
