"""Tree ensembles: each party says which leaves its features leave possible; together they leave one per tree."""

from __future__ import annotations

from sfs_core import OperatorSpec, hookimpl

SFS_API = ">=1,<2"


@hookimpl
def sfs_operators() -> list[OperatorSpec]:
    """The three nodes of a tree ensemble's graph."""
    return [
        OperatorSpec("TREE_SELECT", "sfs_op_tree.select:TreeSelect", "the leaves a party's features leave possible"),
        OperatorSpec("TREE_MERGE", "sfs_op_tree.merge:TreeMerge", "the weight of the one leaf all parties leave"),
        OperatorSpec(
            "TREE_ENSEMBLE_PREDICT",
            "sfs_op_tree.ensemble:TreeEnsemblePredict",
            "the trees' sum through a link function",
        ),
    ]
