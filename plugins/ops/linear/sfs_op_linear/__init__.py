"""Linear models: a dot product at each party, merged into scores."""

from __future__ import annotations

from sfs_core import OperatorSpec, hookimpl

SFS_API = ">=1,<2"


@hookimpl
def sfs_operators() -> list[OperatorSpec]:
    """The two nodes of a linear model's graph."""
    return [
        OperatorSpec("DOT_PRODUCT", "sfs_op_linear.dot_product:DotProduct", "a party's features times its weights"),
        OperatorSpec("MERGE_Y", "sfs_op_linear.merge_y:MergeY", "the parties' sum through a link function"),
    ]
