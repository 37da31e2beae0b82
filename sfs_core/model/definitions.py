"""Operator classes as `OpDef` messages."""

from __future__ import annotations

from typing import Final

from sfs_core.model.graph import attribute_message
from sfs_core.proto import op_pb2
from sfs_core.sdk.operator import MISSING, Attribute, AttributeValue, Operator

__all__ = ["definition_message"]

_TYPES: Final[dict[str, op_pb2.AttrType]] = {
    "i32": op_pb2.AT_INT32,
    "i64": op_pb2.AT_INT64,
    "f": op_pb2.AT_FLOAT,
    "d": op_pb2.AT_DOUBLE,
    "s": op_pb2.AT_STRING,
    "b": op_pb2.AT_BOOL,
    "by": op_pb2.AT_BYTES,
    "i32s": op_pb2.AT_INT32_LIST,
    "i64s": op_pb2.AT_INT64_LIST,
    "fs": op_pb2.AT_FLOAT_LIST,
    "ds": op_pb2.AT_DOUBLE_LIST,
    "ss": op_pb2.AT_STRING_LIST,
    "bs": op_pb2.AT_BOOL_LIST,
    "bys": op_pb2.AT_BYTES_LIST,
}


def definition_message(cls: type[Operator]) -> op_pb2.OpDef:
    """The definition of an operator, attributes sorted by name, inputs in the order of a node's parents."""
    definition = cls.definition
    return op_pb2.OpDef(
        name=definition.name,
        desc=definition.description,
        version=definition.version,
        tag=op_pb2.OpTag(
            returnable=definition.returnable,
            mergeable=definition.mergeable,
            variable_inputs=definition.variable_inputs,
        ),
        inputs=[op_pb2.IoDef(name=name) for name in definition.inputs],
        output=op_pb2.IoDef(name=definition.output),
        attrs=[_attribute_message(a) for a in sorted(definition.attributes, key=lambda a: a.name)],
    )


def _attribute_message(attribute: Attribute) -> op_pb2.AttrDef:
    message = op_pb2.AttrDef(name=attribute.name, desc=attribute.description, type=_TYPES[attribute.case])
    if attribute.default is not MISSING:
        message.is_optional = True
        default = list(attribute.default) if attribute.is_list else attribute.default
        message.default_value.CopyFrom(attribute_message(AttributeValue(attribute.case, default)))
    return message
