from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExtendFunctionName(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNKOWN_EX_FUNCTION_NAME: _ClassVar[ExtendFunctionName]
    EFN_TB_COLUMN: _ClassVar[ExtendFunctionName]
    EFN_TB_ADD_COLUMN: _ClassVar[ExtendFunctionName]
    EFN_TB_REMOVE_COLUMN: _ClassVar[ExtendFunctionName]
    EFN_TB_SET_COLUMN: _ClassVar[ExtendFunctionName]
UNKOWN_EX_FUNCTION_NAME: ExtendFunctionName
EFN_TB_COLUMN: ExtendFunctionName
EFN_TB_ADD_COLUMN: ExtendFunctionName
EFN_TB_REMOVE_COLUMN: ExtendFunctionName
EFN_TB_SET_COLUMN: ExtendFunctionName

class Scalar(_message.Message):
    __slots__ = ("i8", "ui8", "i16", "ui16", "i32", "ui32", "i64", "ui64", "f", "d", "s", "b")
    I8_FIELD_NUMBER: _ClassVar[int]
    UI8_FIELD_NUMBER: _ClassVar[int]
    I16_FIELD_NUMBER: _ClassVar[int]
    UI16_FIELD_NUMBER: _ClassVar[int]
    I32_FIELD_NUMBER: _ClassVar[int]
    UI32_FIELD_NUMBER: _ClassVar[int]
    I64_FIELD_NUMBER: _ClassVar[int]
    UI64_FIELD_NUMBER: _ClassVar[int]
    F_FIELD_NUMBER: _ClassVar[int]
    D_FIELD_NUMBER: _ClassVar[int]
    S_FIELD_NUMBER: _ClassVar[int]
    B_FIELD_NUMBER: _ClassVar[int]
    i8: int
    ui8: int
    i16: int
    ui16: int
    i32: int
    ui32: int
    i64: int
    ui64: int
    f: float
    d: float
    s: str
    b: bool
    def __init__(self, i8: _Optional[int] = ..., ui8: _Optional[int] = ..., i16: _Optional[int] = ..., ui16: _Optional[int] = ..., i32: _Optional[int] = ..., ui32: _Optional[int] = ..., i64: _Optional[int] = ..., ui64: _Optional[int] = ..., f: _Optional[float] = ..., d: _Optional[float] = ..., s: _Optional[str] = ..., b: _Optional[bool] = ...) -> None: ...

class FunctionInput(_message.Message):
    __slots__ = ("data_id", "custom_scalar")
    DATA_ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_SCALAR_FIELD_NUMBER: _ClassVar[int]
    data_id: int
    custom_scalar: Scalar
    def __init__(self, data_id: _Optional[int] = ..., custom_scalar: _Optional[_Union[Scalar, _Mapping]] = ...) -> None: ...

class FunctionOutput(_message.Message):
    __slots__ = ("data_id",)
    DATA_ID_FIELD_NUMBER: _ClassVar[int]
    data_id: int
    def __init__(self, data_id: _Optional[int] = ...) -> None: ...

class FunctionTrace(_message.Message):
    __slots__ = ("name", "option_bytes", "inputs", "output")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OPTION_BYTES_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    name: str
    option_bytes: bytes
    inputs: _containers.RepeatedCompositeFieldContainer[FunctionInput]
    output: FunctionOutput
    def __init__(self, name: _Optional[str] = ..., option_bytes: _Optional[bytes] = ..., inputs: _Optional[_Iterable[_Union[FunctionInput, _Mapping]]] = ..., output: _Optional[_Union[FunctionOutput, _Mapping]] = ...) -> None: ...

class ComputeTrace(_message.Message):
    __slots__ = ("name", "func_traces")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FUNC_TRACES_FIELD_NUMBER: _ClassVar[int]
    name: str
    func_traces: _containers.RepeatedCompositeFieldContainer[FunctionTrace]
    def __init__(self, name: _Optional[str] = ..., func_traces: _Optional[_Iterable[_Union[FunctionTrace, _Mapping]]] = ...) -> None: ...
