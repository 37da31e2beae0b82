"""Helpers for the tests of the tree operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sfs_core import ComputeContext, NodeSpec, Operator
from sfs_core.sdk.operator import AttributeValue

MakeOperator = Callable[..., Operator]


@pytest.fixture(scope="session")
def make() -> MakeOperator:
    """Makes an operator from a class and plain attribute values."""

    def make_operator(
        cls: type[Operator], *, version: str | None = None, parents: tuple[str, ...] = ("parent",), **values: Any
    ) -> Operator:
        cases = {attribute.name: attribute.case for attribute in cls.definition.attributes}
        attributes = {name: AttributeValue(cases[name], value) for name, value in values.items()}
        op_version = cls.definition.version if version is None else version
        return cls(NodeSpec("node", cls.definition.name, op_version, parents, attributes))

    return make_operator


@pytest.fixture(scope="session")
def context() -> ComputeContext:
    return ComputeContext("alice", "alice")
