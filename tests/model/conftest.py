"""A few small operators, so that the rules are tested apart from any plugin; and the installed ones."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest

from sfs_core.batch import Batch, Schema
from sfs_core.errors import ErrorCode, PluginError
from sfs_core.host.registry import Registry
from sfs_core.model.validation import OperatorClass
from sfs_core.sdk.operator import ComputeContext, Operator, attr


class Columns(Operator):
    """Base: float64 columns `takes` of each parent in, column `gives` out."""

    takes: list[str] = attr("columns needed of each parent", default=[])
    gives: str = attr("column made", default="y")
    kind: str = attr("type of the columns needed", default="double")

    def input_schemas(self) -> list[Schema]:
        type_ = pa.type_for_alias(self.kind)
        return [Schema((name, type_) for name in self.takes)] * (len(self.node.parents) or 1)

    def output_schema(self) -> Schema:
        return Schema([(self.gives, pa.float64())])

    def compute(self, context: ComputeContext, *inputs: Batch) -> Batch:
        raise NotImplementedError


class Local(Columns, name="LOCAL", version="0.0.2", inputs=["features"], output="y"):
    """One table in, one out."""


class Exact(Columns, name="EXACT", version="0.0.2", inputs=["features"], output="y", exact_version=True):
    """Like LOCAL, of one version only."""


class Merge(Columns, name="MERGE", version="0.0.1", inputs=["y"], output="y", returnable=True, mergeable=True):
    """The tables of all parties in."""


class Post(Columns, name="POST", version="0.0.1", inputs=["y"], output="y", returnable=True):
    """One table in; may end a graph."""


class Join(Columns, name="JOIN", version="0.0.1", inputs=["a", "b"], output="y", returnable=True, mergeable=True):
    """Two parents."""


class Sum(Columns, name="SUM", version="0.0.1", inputs=["*"], output="y", returnable=True, variable_inputs=True):
    """Any number of parents."""


class Broken(Columns, name="BROKEN", version="0.0.1", inputs=["y"], output="y"):
    """A plugin with a bug."""

    def setup(self) -> None:
        raise ZeroDivisionError


class Miscounting(Columns, name="MISCOUNTING", version="0.0.1", inputs=["y"], output="y"):
    """A plugin that says too little of its inputs."""

    def input_schemas(self) -> list[Schema]:
        return []


_CLASSES = {cls.definition.name: cls for cls in (Local, Exact, Merge, Post, Join, Sum, Broken, Miscounting)}


def find_operator(name: str) -> type[Operator]:
    if name not in _CLASSES:
        raise PluginError(f"no operator is called {name!r}", code=ErrorCode.UNEXPECTED_ERROR)
    return _CLASSES[name]


@pytest.fixture(scope="session")
def operator_class() -> OperatorClass:
    return find_operator


@pytest.fixture(scope="session")
def installed() -> Registry:
    return Registry.discover()


@pytest.fixture(scope="session")
def is_installed(installed: Registry) -> Callable[[str], bool]:
    names = {spec.name for spec in installed.specs("operator")}
    return names.__contains__
