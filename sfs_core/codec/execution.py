"""What one party asks of another (`Execute`), as records of ours and as the reference's messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final

from sfs_core.batch import Batch
from sfs_core.block import PartyBlocks, TableBlock
from sfs_core.codec.arrow_ipc import decode_batch, encode_batch
from sfs_core.codec.block_templates import BLOCKS
from sfs_core.codec.entries import drop_own
from sfs_core.codec.features import Feature, feature_from_message, feature_rows
from sfs_core.errors import ErrorCode, RequestError, SfsError
from sfs_core.proto import apis_pb2

__all__ = [
    "AGREED_EXTENSION",
    "EXTENSIONS",
    "MISSING_ROWS",
    "MODEL",
    "MODEL_EXTENSION",
    "PER_ROW",
    "PER_ROW_EXTENSION",
    "SAFE_TEXT_MARK",
    "ExecuteCall",
    "ExecuteReply",
    "call_from_message",
    "call_to_message",
    "error_reply_message",
    "names_unknown_model",
    "reply_from_message",
    "reply_to_message",
]


@dataclass(slots=True)
class ExecuteCall:
    """Run one execution of a service's graph.

    Args:
        service: the service id.
        requester: the party that received the prediction request.
        execution: index of the execution.
        headers: the caller's header entries.
        per_row: whether the requester can do with a reply that lacks rows.
        model: id of the model that the asked party is to use; empty where it told of none.
        ids: query data per row, for an execution that fetches features; else None.
        context: the caller's query context, with `ids`.
        predefined: features sent along instead of ids; else None.
        inputs: for later executions: per outside parent, one batch per party that ran it (requester first, then
            ascending party ids).
        steps: what was done for it, and the seconds that each took, where somebody wants to know; it does not travel.
        deadline: loop time after which the reply is of no use; it travels as the call's time limit.
    """

    service: str
    requester: str
    execution: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    per_row: bool = False
    model: str = ""
    ids: list[str] | None = None
    context: str = ""
    predefined: Sequence[Feature] | None = None
    inputs: Mapping[str, Sequence[Batch]] = field(default_factory=dict)
    steps: list[tuple[str, float]] | None = None
    deadline: float = inf

    @property
    def most_rows(self) -> int:
        """How many rows it asks for; of tables or features of unequal length, those of the longest."""
        if self.ids is not None:
            return len(self.ids)
        if self.predefined is not None:
            return feature_rows(self.predefined)
        if type(self.inputs) is PartyBlocks:
            return self.inputs.num_rows
        return max((table.num_rows for tables in self.inputs.values() for table in tables), default=0)


@dataclass(slots=True)
class ExecuteReply:
    """What came of an execution.

    Args:
        outputs: the table of each exit node, by node name; empty where all rows are missing.
        headers: entries for the caller.
        missing: which rows the party has no features for, True or False for each; the rows of `outputs` in their
            places mean nothing. None: all rows are there.
    """

    outputs: Mapping[str, Batch]
    headers: Mapping[str, str] = field(default_factory=dict)
    missing: Sequence[bool] | None = None


PER_ROW: Final = "sfs-per-row"
"""A header entry of a call whose requester can do with a reply that lacks rows. It is sent only to parties that
announced in the handshake that they know what it means (`PER_ROW_EXTENSION`)."""
MISSING_ROWS: Final = "sfs-missing-rows"
"""A header entry of the reply to such a call: 1 for each row that is missing and 0 for each that is there, in order."""
EXTENSIONS: Final = "sfs-extensions"
"""A header entry of answers to GetModelInfo: names of what this party knows beyond the reference, comma separated."""
PER_ROW_EXTENSION: Final = "per-row"
"""Announces that this party sends and takes replies that lack rows, for this service."""

MODEL: Final = "sfs-model"
"""A header entry that names a model of the asked party by its id: in answers to GetModelInfo the model told of, in
calls the one that is to be used. In a question of GetModelInfo it is the version asked for, see `model_version`."""
MODEL_EXTENSION: Final = "models"
"""Announces that this party takes calls that name one of its models, and refuses those for which it has not."""
AGREED_EXTENSION: Final = "agreed"
"""Announces that calls which name the model told of will be answered: this party knows that the others have it, too."""
_UNKNOWN_MODEL: Final = "sfs-unknown-model"
"""A header entry of the answer to a call that names a model which this party has not."""


SAFE_TEXT_MARK: Final = "sfs: "
"""Begins the error texts of our own parties, which quote no features, ids or secrets; others' texts may."""

_NodesMessage = apis_pb2.ExecutionTask | apis_pb2.ExecuteResult

_FETCH: Final = (apis_pb2.FS_SERVICE, apis_pb2.FS_PREDEFINED)


def call_to_message(call: ExecuteCall) -> apis_pb2.ExecuteRequest:
    """The message that a peer, ours or the reference's, understands."""
    message = apis_pb2.ExecuteRequest(requester_id=call.requester)
    message.header.SetInParent()
    message.header.data.update(call.headers)
    if call.per_row:
        message.header.data[PER_ROW] = "1"
    elif PER_ROW in call.headers:  # a caller does not speak for this party
        del message.header.data[PER_ROW]
    if call.model:
        message.header.data[MODEL] = call.model
    elif MODEL in call.headers:
        del message.header.data[MODEL]
    message.service_spec.id = call.service
    source = message.feature_source
    if call.ids is not None:
        source.type = apis_pb2.FS_SERVICE
        source.fs_param.query_datas.extend(call.ids)
        source.fs_param.query_context = call.context
        return message
    if call.predefined is not None:
        raise SfsError("predefined features stay with the party that received them", code=ErrorCode.LOGIC_ERROR)
    source.type = apis_pb2.FS_NONE
    message.task.execution_id = call.execution
    _write_nodes(message.task, call.inputs)
    return message


def call_from_message(message: apis_pb2.ExecuteRequest) -> ExecuteCall:
    """The record of a message from a peer; tables are read and checked.

    Raises:
        RequestError: features and tables contradict each other or the execution (codes 3 and 7, as the reference),
            or a table is no valid Arrow stream (2 or 7).
    """
    call = ExecuteCall(
        service=message.service_spec.id,
        requester=message.requester_id,
        execution=message.task.execution_id,
        headers=dict(message.header.data),
    )
    if call.headers:
        call.per_row = PER_ROW in call.headers
        call.model = call.headers.get(MODEL, "")
        drop_own(call.headers)
    source = message.feature_source
    if source.type in _FETCH:
        _read_features(call, source)
        if message.task.nodes:
            raise _logic_error("features and tables in one request")
        if call.execution:
            raise _logic_error("features are fetched by the first execution only")
        return call
    if not message.task.nodes:
        raise _logic_error("neither features nor tables in the request")
    if not call.execution:
        raise _logic_error("tables for the first execution, which starts from features")
    call.inputs = _read_nodes(message.task)
    return call


def _read_features(call: ExecuteCall, source: apis_pb2.FeatureSource) -> None:
    if source.type == apis_pb2.FS_SERVICE:
        call.ids, call.context = list(source.fs_param.query_datas), source.fs_param.query_context
        if not call.ids:
            raise RequestError("feature_source.fs_param.query_datas is empty")
        return
    call.predefined = [feature_from_message(feature) for feature in source.predefineds]
    if not call.predefined:
        raise RequestError("feature_source.predefineds is empty")


def _write_nodes(message: _NodesMessage, nodes: Mapping[str, Sequence[Batch]]) -> None:
    if type(nodes) is PartyBlocks and (data := BLOCKS.write(nodes)) is not None:
        message.MergeFromString(data)
        return
    for name, batches in nodes.items():
        message.nodes.add(name=name).ios.add().datas.extend([encode_batch(batch) for batch in batches])


def _read_nodes(message: _NodesMessage) -> Mapping[str, Sequence[Batch]]:
    if len(message.nodes) < 2:
        return {node.name: _read_tables(node) for node in message.nodes}
    rest = type(message)(execution_id=message.execution_id).SerializeToString()
    data = message.SerializeToString().removeprefix(rest)
    known = BLOCKS.read(data)
    if known is not None:
        return known
    nodes = {node.name: _read_tables(node) for node in message.nodes}
    BLOCKS.learn(data, nodes)
    return nodes


def _read_tables(node: apis_pb2.NodeIo) -> list[Batch]:
    if len(node.ios) != 1:
        raise _logic_error(f"node {node.name!r} has {len(node.ios)} ios, exactly one is expected")
    datas = node.ios[0].datas
    if not datas:
        raise _logic_error(f"node {node.name!r} has no table")
    return [decode_batch(data, f"table {i} of node {node.name!r}") for i, data in enumerate(datas)]


def _logic_error(text: str) -> RequestError:
    return RequestError(text, code=ErrorCode.LOGIC_ERROR)


def reply_to_message(service: str, reply: ExecuteReply) -> apis_pb2.ExecuteResponse:
    """The message of a successful execution."""
    message = apis_pb2.ExecuteResponse()
    message.header.SetInParent()
    message.header.data.update(reply.headers)
    if reply.missing is not None:
        message.header.data[MISSING_ROWS] = "".join(["1" if is_missing else "0" for is_missing in reply.missing])
    message.status.code = ErrorCode.OK
    message.service_spec.id = service
    _write_nodes(message.result, _of_one_party(reply.outputs))
    return message


def names_unknown_model(message: apis_pb2.ExecuteResponse) -> bool:
    """Whether an answer says that the asked party has not the model that the call names."""
    return _UNKNOWN_MODEL in message.header.data


def error_reply_message(service: str, code: int, text: str, *, unknown_model: bool = False) -> apis_pb2.ExecuteResponse:
    """The message of a failed execution; `text` must be safe for the other party, and is marked as such."""
    message = apis_pb2.ExecuteResponse()
    message.header.SetInParent()
    if unknown_model:
        message.header.data[_UNKNOWN_MODEL] = "1"
    message.status.code, message.status.msg = code, SAFE_TEXT_MARK + text
    message.service_spec.id = service
    return message


def reply_from_message(
    message: apis_pb2.ExecuteResponse, execution: int, per_row_count: int | None = None
) -> ExecuteReply:
    """The record of a peer's answer; tables are read and checked.

    Args:
        message: the answer.
        execution: what was asked for.
        per_row_count: how many rows were asked for, of which some may be missing; None where none may.

    Raises:
        SfsError: a node has not exactly one table (7), or it is no valid Arrow stream (2 or 7), or the marks of missing
            rows are not right (7).
    """
    outputs = _only_tables(_read_nodes(message.result), execution)
    data = message.header.data
    if not data:
        return ExecuteReply(outputs)
    missing = _missing_rows(data[MISSING_ROWS], per_row_count) if MISSING_ROWS in data else None
    return ExecuteReply(outputs, dict(data), missing)


def _of_one_party(outputs: Mapping[str, Batch]) -> Mapping[str, Sequence[Batch]]:
    if type(outputs) is TableBlock:
        return PartyBlocks([outputs])
    return {name: [batch] for name, batch in outputs.items()}


def _only_tables(nodes: Mapping[str, Sequence[Batch]], execution: int) -> Mapping[str, Batch]:
    if type(nodes) is PartyBlocks and len(nodes.blocks) == 1:
        return nodes.blocks[0]
    outputs = {}
    for name, tables in nodes.items():
        if len(tables) != 1:
            raise _logic_error(f"execution {execution}: node {name!r} has {len(tables)} tables, one is expected")
        outputs[name] = tables[0]
    return outputs


def _missing_rows(marks: str, count: int | None) -> Sequence[bool] | None:
    if count is None:  # nothing of ours: a feature service of a party that runs other software says so
        return None
    if len(marks) != count or not set(marks) <= {"0", "1"}:
        raise _logic_error(f"{count} marks of missing rows are expected, 0 or 1")
    return [mark == "1" for mark in marks] if "1" in marks else None
