"""What operators announce to each other beyond the reference's protocol"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pytest

from sfs_core import Batch, GraphError, NodeSpec, Operator, Schema
from sfs_core.server.extensions import agreed_extensions, extensions_of


class Announcing(Operator, name="ANNOUNCES", version="1", inputs=["x"], output="y"):
    """Says what its test wants."""

    names: Iterable[str] = ()

    def extensions(self) -> Iterable[str]:
        return self.names

    def input_schemas(self) -> list[Schema]:
        return [Schema([("x", pa.float64())])]

    def output_schema(self) -> Schema:
        return self.input_schemas()[0]

    def compute(self, context: object, *inputs: Any) -> Batch:
        raise NotImplementedError


def announcing(*names: str) -> Operator:
    operator = Announcing(NodeSpec("node", "ANNOUNCES", "1"))
    operator.names = names
    return operator


def test_operators_of_a_model_announce_together() -> None:
    operators = [announcing("acme/short-1"), announcing(), announcing("acme/short-1", "acme/wide.2")]
    assert extensions_of(operators) == {"acme/short-1", "acme/wide.2"}


@pytest.mark.parametrize("name", ["per-row", "", "acme/a,b", "Acme/x", "acme/", "acme/x\n", "a/b/c"])
def test_names_that_could_mean_something_else_are_refused(name: str) -> None:
    """Of core, or, with a comma, several."""
    with pytest.raises(GraphError, match="is not named plugin/extension") as caught:
        extensions_of([announcing(name)])
    assert caught.value.node == "node"


def test_what_every_party_announces_is_agreed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sfs.handshake")
    own = frozenset({"acme/a", "acme/b"})
    told = {"bob": frozenset({"acme/a", "models"}), "carol": frozenset({"acme/a", "acme/c", "x\ny/z"})}
    assert agreed_extensions("svc", own, told) == {"acme/a"}
    assert caplog.messages == [
        "svc: acme/b is not used: it is switched off, or not known, at bob, carol",
        "svc: acme/c is not used: carol would, here it is switched off",
    ]
    caplog.clear()
    assert agreed_extensions("svc", frozenset(), {"bob": frozenset({"per-row", ""})}) == frozenset()
    assert not caplog.messages
