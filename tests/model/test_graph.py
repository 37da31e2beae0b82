"""Graph records and their messages."""

from __future__ import annotations

import pytest

from sfs_core.errors import ErrorCode, GraphError
from sfs_core.model.graph import Dispatch, Execution, Graph, HeKeys, graph_from_message, graph_to_message, view_of
from sfs_core.proto import serving_pb2
from sfs_core.sdk.operator import AttributeValue, NodeSpec

SECRET = b"the-secret-key"


def graph() -> Graph:
    attributes = {
        "names": AttributeValue("ss", []),
        "flag": AttributeValue("b", False),
        "unset": AttributeValue("", None),
        "weights": AttributeValue("ds", [0.5, float("inf")]),
    }
    nodes = {
        "b": NodeSpec("b", "MERGE", "0.0.1", ("a", "a")),
        "a": NodeSpec("a", "LOCAL", "0.0.2", (), attributes),
    }
    executions = (
        Execution(0, ("a",), Dispatch.ALL),
        Execution(1, ("b",), Dispatch.SPECIFIED, specific=True),
    )
    return Graph("0.2.0", nodes, executions, HeKeys(b"public", SECRET, 1 << 40), 2)


def test_messages_hold_everything_that_records_hold() -> None:
    message = serving_pb2.GraphDef.FromString(graph_to_message(graph()).SerializeToString())
    again = graph_from_message(message)
    assert again == graph()
    assert list(again.nodes) == ["b", "a"]
    assert graph_from_message(graph_to_message(Graph("", {}, ()))) == Graph("", {}, ())


def test_empty_list_attribute_is_present_on_the_wire() -> None:
    values = graph_to_message(graph()).node_list[1].attr_values
    assert values["names"].WhichOneof("value") == "ss"
    assert values["unset"].WhichOneof("value") is None


def test_view_has_no_attributes_and_no_secret() -> None:
    view = view_of(graph())
    assert [(n.name, n.op, list(n.parents), n.op_version) for n in view.node_list] == [
        ("b", "MERGE", ["a", "a"], "0.0.1"),
        ("a", "LOCAL", [], "0.0.2"),
    ]
    assert [e.config.dispatch_type for e in view.execution_list] == [serving_pb2.DP_ALL, serving_pb2.DP_SPECIFIED]
    assert view.execution_list[1].config.specific_flag
    assert view.he_info.pk_buf == b"public"
    assert view.he_info.encode_scale == 0
    assert SECRET not in view.SerializeToString()


def test_view_has_he_info_without_keys_too() -> None:
    assert view_of(Graph("0.2.0", {}, ())).HasField("he_info")


def test_secret_key_is_in_no_representation() -> None:
    assert "secret" not in repr(graph())
    assert "secret" not in repr(graph().he)


def test_duplicate_names_are_refused() -> None:
    message = serving_pb2.GraphDef()
    message.node_list.add(name="x")
    message.node_list.add(name="x")
    with pytest.raises(GraphError, match="node x: two nodes") as caught:
        graph_from_message(message)
    assert caught.value.code == ErrorCode.LOGIC_ERROR


def test_unknown_dispatch_number_is_refused() -> None:
    message = serving_pb2.GraphDef()
    message.execution_list.add().config.dispatch_type = 99  # type: ignore[assignment]
    with pytest.raises(GraphError, match="dispatch type 99"):
        graph_from_message(message)


def test_dispatch_names_are_the_wire_names() -> None:
    assert {d.wire_name: d.value for d in Dispatch} == dict(serving_pb2.DispatchType.items())
