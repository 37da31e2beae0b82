"""Preprocessing and postprocessing that was recorded as a sequence of Arrow compute functions."""

from __future__ import annotations

from sfs_core import OperatorSpec, hookimpl

SFS_API = ">=1,<2"


@hookimpl
def sfs_operators() -> list[OperatorSpec]:
    """The node that replays a recorded computation."""
    return [OperatorSpec("ARROW_PROCESSING", "sfs_op_arrow.operator:ArrowProcessing", "replays recorded Arrow calls")]
