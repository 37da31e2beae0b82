"""Whether parties serve the same model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf import json_format

from sfs_core.errors import ErrorCode, GraphError
from sfs_core.model.consistency import check_consistency
from sfs_core.model.package import model_info, read_package
from sfs_core.proto import serving_pb2

FLAGGED_BY_SEVERAL = {"spec_both_true": "Q25", "spec_two_of_three": "Q25"}
"""Views that the reference accepts, although several parties would run the execution, with the quirk's number."""


def info() -> serving_pb2.ModelInfo:
    made = serving_pb2.ModelInfo(name="demo", desc="words")
    view = made.graph_view
    view.version = "0.2.0"
    view.node_list.add(name="a", op="LOCAL", op_version="1")
    view.node_list.add(name="b", op="LOCAL", op_version="1")
    view.node_list.add(name="z", op="JOIN", op_version="1", parents=["a", "b"])
    view.execution_list.add(nodes=["a", "b"]).config.dispatch_type = serving_pb2.DP_ALL
    last = view.execution_list.add(nodes=["z"])
    last.config.dispatch_type = serving_pb2.DP_ANYONE
    return made


def test_verdicts_of_the_reference(cases: Path) -> None:
    for line in (cases / "graphs" / "view_cases.jsonl").read_text().splitlines():
        case = json.loads(line)
        models = {
            party: serving_pb2.ModelInfo(graph_view=json_format.ParseDict(view, serving_pb2.GraphView()))
            for party, view in case["views"].items()
        }
        expected = case["valid"] and case["name"] not in FLAGGED_BY_SEVERAL
        for own, model in models.items():  # each party must come to the same verdict
            peers = {party: its for party, its in models.items() if party != own}
            if expected:
                check_consistency(own, model, peers)
            else:
                with pytest.raises(GraphError):
                    check_consistency(own, model, peers)


def test_parties_of_real_packages_agree(cases: Path) -> None:
    for folder in sorted({path.parent for path in cases.glob("*/*/*.tar.gz")}):
        models = {path.name[:-7]: model_info(read_package(path)) for path in folder.glob("*.tar.gz")}
        own = models.pop("alice")
        assert check_consistency("alice", own, models) == (), folder


def test_equal_models_agree_and_alone_too() -> None:
    other = info()
    other.desc = "other words"
    del other.graph_view.node_list[0]
    other.graph_view.node_list.add(name="a", op="LOCAL", op_version="1")
    other.graph_view.party_num = 2
    assert check_consistency("alice", info(), {"bob": other, "carol": info()}) == ()
    assert check_consistency("alice", info(), {}) == ()


def _rename(m: serving_pb2.ModelInfo) -> None:
    m.name = "x" * 1000


def _version(m: serving_pb2.ModelInfo) -> None:
    m.graph_view.version = "0.1.0"


def _execution(m: serving_pb2.ModelInfo) -> None:
    m.graph_view.execution_list.add()


def _fewer_nodes(m: serving_pb2.ModelInfo) -> None:
    del m.graph_view.node_list[0]


def _node_twice(m: serving_pb2.ModelInfo) -> None:
    m.graph_view.node_list[0].name = "b"


def _op(m: serving_pb2.ModelInfo) -> None:
    m.graph_view.node_list[1].op = "OTHER"


def _op_version(m: serving_pb2.ModelInfo) -> None:
    m.graph_view.node_list[1].op_version = ""


def _parents(m: serving_pb2.ModelInfo) -> None:
    m.graph_view.node_list[2].parents[0] = "b"


def _dispatch(m: serving_pb2.ModelInfo) -> None:
    m.graph_view.execution_list[1].config.dispatch_type = 77  # type: ignore[assignment]


def _nodes_of_execution(m: serving_pb2.ModelInfo) -> None:
    m.graph_view.execution_list[0].nodes.append("z")


def _order_of_execution(m: serving_pb2.ModelInfo) -> None:
    m.graph_view.execution_list[0].nodes.reverse()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_rename, "party bob: the model's name is 'demo' at alice, but 'xxxx"),
        (_version, "the graph's version is '0.2.0' at alice, but '0.1.0' at bob"),
        (_execution, "the number of executions is 2 at alice, but 3 at bob"),
        (_fewer_nodes, "the number of nodes is 3 at alice, but 2 at bob"),
        (_node_twice, r"the nodes' names is \['a'\] at alice, but \[\] at bob"),
        (_op, "the operator of node 'b' is 'LOCAL' at alice, but 'OTHER' at bob"),
        (_op_version, "op_version of node 'b' is '1' at alice, but '' at bob"),
        (_parents, r"the parents of node 'z' is \['a', 'b'\] at alice, but \['b'\] at bob"),
        (_dispatch, "the dispatch type of execution 1 is 'DP_ANYONE' at alice, but '77' at bob"),
        (_nodes_of_execution, "the number of nodes of execution 0 is 2 at alice, but 3 at bob"),
        (_order_of_execution, "node 0 of execution 0 is 'a' at alice, but 'b' at bob"),
    ],
)
def test_differences_name_what_and_who(change: Callable[[serving_pb2.ModelInfo], None], message: str) -> None:
    other = info()
    change(other)
    with pytest.raises(GraphError, match=message) as caught:
        check_consistency("alice", info(), {"carol": info(), "bob": other})
    assert caught.value.code == ErrorCode.LOGIC_ERROR
    assert len(str(caught.value)) < 400


def test_other_order_of_parents_is_a_warning() -> None:
    other = info()
    other.graph_view.node_list[2].parents[:] = ["b", "a"]
    (warning,) = check_consistency("alice", info(), {"bob": other})
    assert warning == "the parents of node 'z' are listed in another order by party bob"


@pytest.mark.parametrize(("own", "peer", "agree"), [(0, 5, True), (5, 0, True), (5, 5, True), (5, 6, False)])
def test_encode_scales_are_compared_where_both_publish_one(own: int, peer: int, agree: bool) -> None:
    """Q26: the reference publishes none."""
    ours, theirs = info(), info()
    ours.graph_view.he_info.encode_scale = own
    theirs.graph_view.he_info.encode_scale = peer
    if agree:
        check_consistency("alice", ours, {"bob": theirs})
    else:
        with pytest.raises(GraphError, match="encode_scale is 5 at alice, but 6 at bob"):
            check_consistency("alice", ours, {"bob": theirs})


@pytest.mark.parametrize(
    ("flags", "shown"), [("100", ""), ("001", ""), ("000", "none"), ("110", "alice, bob"), ("011", "bob, carol")]
)
def test_exactly_one_party_may_be_flagged(flags: str, shown: str) -> None:
    models = {party: info() for party in ("alice", "bob", "carol")}
    for model, flag in zip(models.values(), flags, strict=True):
        config = model.graph_view.execution_list[1].config
        config.dispatch_type, config.specific_flag = serving_pb2.DP_SPECIFIED, flag == "1"
    own = models.pop("alice")
    if not shown:
        assert check_consistency("alice", own, models) == ()
    else:
        with pytest.raises(GraphError, match=f"exactly one party, it is set at {shown}$"):
            check_consistency("alice", own, models)
