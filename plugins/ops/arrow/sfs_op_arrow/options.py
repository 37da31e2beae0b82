"""Function options out of a trace."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from sfs_core import ErrorCode, GraphError

__all__ = ["option_members", "read_options"]

_TYPE_NAME = "_type_name"
_MOST_DIGITS = 1000  # Arrow computes 10^ndigits in as many steps, even for a table without rows


def read_options(data: bytes, class_name: str) -> Any:
    """The options in `option_bytes`, which is an Arrow IPC file of one struct with the options' members.

    Args:
        data: the bytes, as written by any version of Arrow since 12.
        class_name: the options class that the function takes; "" for one that takes none and ignores what was recorded.

    Raises:
        GraphError: the bytes are no options, or of another class, or this version of Arrow cannot read them (code 2).
    """
    try:
        members = _members(data)
        found = members[_TYPE_NAME].as_py().decode()
    except (pa.ArrowException, OSError, ValueError, LookupError, AttributeError):
        raise _refused("option_bytes hold no function options") from None
    if not class_name:
        return None
    if found != class_name:  # Arrow itself does not compare them, and would read memory of the wrong layout
        raise _refused(f"option_bytes hold {found}, the function takes {class_name}")
    try:
        options = pc.FunctionOptions.deserialize(pa.py_buffer(data))
    except pa.ArrowException:
        options = _rebuilt(class_name, members)
    if "ndigits" in members and abs(members["ndigits"].as_py()) > _MOST_DIGITS:
        raise _refused(f"{found} rounds to more than {_MOST_DIGITS} digits", hint="no number has so many")
    return options


def option_members(options: Any) -> dict[str, Any]:
    """The members of options as Arrow scalars, by name; Arrow itself shows them only as text."""
    return _members(options.serialize().to_pybytes())


def _members(data: bytes) -> dict[str, Any]:
    """The members as Arrow scalars, from bytes that have been validated: Arrow's own reader trusts them."""
    batch = pa.ipc.open_file(pa.py_buffer(data)).get_batch(0)
    batch.validate(full=True)
    struct = batch.column(0)
    if not pa.types.is_struct(struct.type) or len(struct) != 1:
        raise ValueError(struct.type)
    return {struct.type.field(i).name: struct.field(i)[0] for i in range(struct.type.num_fields)}


def _rebuilt(class_name: str, members: dict[str, Any]) -> Any:
    """Options that another version of Arrow wrote with other members: made anew, absent members at their defaults.

    A member that this version does not know could change the result, so it is refused.
    """
    arguments = {}
    for name, value in members.items():
        if class_name == "CastOptions" and name == "to_type":
            arguments["target_type"] = value.type  # it is stored as a null of the target type
        elif name != _TYPE_NAME:
            arguments[name] = value.values if isinstance(value, pa.ListScalar) else value.as_py()
    try:
        return getattr(pc, class_name)(**arguments)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        raise _refused(f"{class_name} was written by a version of Arrow that {pa.__version__} cannot read") from None


def _refused(message: str, hint: str = "export the model again with a newer Arrow") -> GraphError:
    return GraphError(message, code=ErrorCode.UNEXPECTED_ERROR, hint=hint)
