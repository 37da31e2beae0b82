from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AttrType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNKNOWN_AT_TYPE: _ClassVar[AttrType]
    AT_INT32: _ClassVar[AttrType]
    AT_INT64: _ClassVar[AttrType]
    AT_FLOAT: _ClassVar[AttrType]
    AT_DOUBLE: _ClassVar[AttrType]
    AT_STRING: _ClassVar[AttrType]
    AT_BOOL: _ClassVar[AttrType]
    AT_BYTES: _ClassVar[AttrType]
    AT_INT32_LIST: _ClassVar[AttrType]
    AT_INT64_LIST: _ClassVar[AttrType]
    AT_FLOAT_LIST: _ClassVar[AttrType]
    AT_DOUBLE_LIST: _ClassVar[AttrType]
    AT_STRING_LIST: _ClassVar[AttrType]
    AT_BOOL_LIST: _ClassVar[AttrType]
    AT_BYTES_LIST: _ClassVar[AttrType]
UNKNOWN_AT_TYPE: AttrType
AT_INT32: AttrType
AT_INT64: AttrType
AT_FLOAT: AttrType
AT_DOUBLE: AttrType
AT_STRING: AttrType
AT_BOOL: AttrType
AT_BYTES: AttrType
AT_INT32_LIST: AttrType
AT_INT64_LIST: AttrType
AT_FLOAT_LIST: AttrType
AT_DOUBLE_LIST: AttrType
AT_STRING_LIST: AttrType
AT_BOOL_LIST: AttrType
AT_BYTES_LIST: AttrType

class Int32List(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, data: _Optional[_Iterable[int]] = ...) -> None: ...

class Int64List(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, data: _Optional[_Iterable[int]] = ...) -> None: ...

class FloatList(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, data: _Optional[_Iterable[float]] = ...) -> None: ...

class DoubleList(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, data: _Optional[_Iterable[float]] = ...) -> None: ...

class StringList(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, data: _Optional[_Iterable[str]] = ...) -> None: ...

class BoolList(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: _containers.RepeatedScalarFieldContainer[bool]
    def __init__(self, data: _Optional[_Iterable[bool]] = ...) -> None: ...

class BytesList(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, data: _Optional[_Iterable[bytes]] = ...) -> None: ...

class AttrValue(_message.Message):
    __slots__ = ("i32", "i64", "f", "d", "s", "b", "by", "i32s", "i64s", "fs", "ds", "ss", "bs", "bys")
    I32_FIELD_NUMBER: _ClassVar[int]
    I64_FIELD_NUMBER: _ClassVar[int]
    F_FIELD_NUMBER: _ClassVar[int]
    D_FIELD_NUMBER: _ClassVar[int]
    S_FIELD_NUMBER: _ClassVar[int]
    B_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    I32S_FIELD_NUMBER: _ClassVar[int]
    I64S_FIELD_NUMBER: _ClassVar[int]
    FS_FIELD_NUMBER: _ClassVar[int]
    DS_FIELD_NUMBER: _ClassVar[int]
    SS_FIELD_NUMBER: _ClassVar[int]
    BS_FIELD_NUMBER: _ClassVar[int]
    BYS_FIELD_NUMBER: _ClassVar[int]
    i32: int
    i64: int
    f: float
    d: float
    s: str
    b: bool
    by: bytes
    i32s: Int32List
    i64s: Int64List
    fs: FloatList
    ds: DoubleList
    ss: StringList
    bs: BoolList
    bys: BytesList
    def __init__(self, i32: _Optional[int] = ..., i64: _Optional[int] = ..., f: _Optional[float] = ..., d: _Optional[float] = ..., s: _Optional[str] = ..., b: _Optional[bool] = ..., by: _Optional[bytes] = ..., i32s: _Optional[_Union[Int32List, _Mapping]] = ..., i64s: _Optional[_Union[Int64List, _Mapping]] = ..., fs: _Optional[_Union[FloatList, _Mapping]] = ..., ds: _Optional[_Union[DoubleList, _Mapping]] = ..., ss: _Optional[_Union[StringList, _Mapping]] = ..., bs: _Optional[_Union[BoolList, _Mapping]] = ..., bys: _Optional[_Union[BytesList, _Mapping]] = ...) -> None: ...

class AttrDef(_message.Message):
    __slots__ = ("name", "desc", "type", "is_optional", "default_value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESC_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    IS_OPTIONAL_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    desc: str
    type: AttrType
    is_optional: bool
    default_value: AttrValue
    def __init__(self, name: _Optional[str] = ..., desc: _Optional[str] = ..., type: _Optional[_Union[AttrType, str]] = ..., is_optional: _Optional[bool] = ..., default_value: _Optional[_Union[AttrValue, _Mapping]] = ...) -> None: ...

class IoDef(_message.Message):
    __slots__ = ("name", "desc")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESC_FIELD_NUMBER: _ClassVar[int]
    name: str
    desc: str
    def __init__(self, name: _Optional[str] = ..., desc: _Optional[str] = ...) -> None: ...

class OpTag(_message.Message):
    __slots__ = ("returnable", "mergeable", "session_run", "variable_inputs")
    RETURNABLE_FIELD_NUMBER: _ClassVar[int]
    MERGEABLE_FIELD_NUMBER: _ClassVar[int]
    SESSION_RUN_FIELD_NUMBER: _ClassVar[int]
    VARIABLE_INPUTS_FIELD_NUMBER: _ClassVar[int]
    returnable: bool
    mergeable: bool
    session_run: bool
    variable_inputs: bool
    def __init__(self, returnable: _Optional[bool] = ..., mergeable: _Optional[bool] = ..., session_run: _Optional[bool] = ..., variable_inputs: _Optional[bool] = ...) -> None: ...

class OpDef(_message.Message):
    __slots__ = ("name", "desc", "version", "tag", "inputs", "output", "attrs")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESC_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    ATTRS_FIELD_NUMBER: _ClassVar[int]
    name: str
    desc: str
    version: str
    tag: OpTag
    inputs: _containers.RepeatedCompositeFieldContainer[IoDef]
    output: IoDef
    attrs: _containers.RepeatedCompositeFieldContainer[AttrDef]
    def __init__(self, name: _Optional[str] = ..., desc: _Optional[str] = ..., version: _Optional[str] = ..., tag: _Optional[_Union[OpTag, _Mapping]] = ..., inputs: _Optional[_Iterable[_Union[IoDef, _Mapping]]] = ..., output: _Optional[_Union[IoDef, _Mapping]] = ..., attrs: _Optional[_Iterable[_Union[AttrDef, _Mapping]]] = ...) -> None: ...
