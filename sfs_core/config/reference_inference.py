"""The reference's InferenceConfig: what its `inferencer` is to score, and where the scores go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sfs_core.config.reference_messages import INFERENCE
from sfs_core.config.reference_telemetry import read_reference_file

__all__ = ["Inference", "read_inference"]


@dataclass(frozen=True, slots=True)
class Inference:
    """What an InferenceConfig says.

    Args:
        requester: the party that gets the scores.
        result: the file that they are written to.
        score_column: the name of their column.
        columns: of the requester's file, to be written beside the scores.
        has_block_size: whether a size of blocks is given.
    """

    requester: str
    result: Path
    score_column: str
    columns: tuple[str, ...]
    has_block_size: bool


def read_inference(path: Path) -> Inference:
    """What an InferenceConfig says.

    Raises:
        ConfigError: with every problem in `problems`.
    """
    message, problems = read_reference_file(path, INFERENCE)
    texts = {name: message.get(name, "") for name in ("requester_id", "result_file_path", "score_col_name")}
    for name, text in texts.items():
        if not text:
            problems.add(message.node.line, message.where(name), "is missing")
    columns = tuple(node.value for node in message.get("additional_col_names", []))
    if problems:
        raise problems.error()
    requester, result, score = texts.values()
    return Inference(requester, Path(result), score, columns, message.has("block_size"))
