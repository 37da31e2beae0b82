from sfs_core.proto import apis_pb2 as _apis_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ControlMessageType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INVALID_MESSAGE_TYPE: _ClassVar[ControlMessageType]
    CM_INIT: _ClassVar[ControlMessageType]
    CM_STOP: _ClassVar[ControlMessageType]
    CM_KEEPALIVE: _ClassVar[ControlMessageType]
INVALID_MESSAGE_TYPE: ControlMessageType
CM_INIT: ControlMessageType
CM_STOP: ControlMessageType
CM_KEEPALIVE: ControlMessageType

class ControlRequest(_message.Message):
    __slots__ = ("party_id", "type")
    PARTY_ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    party_id: str
    type: ControlMessageType
    def __init__(self, party_id: _Optional[str] = ..., type: _Optional[_Union[ControlMessageType, str]] = ...) -> None: ...

class InitMsg(_message.Message):
    __slots__ = ("row_num",)
    ROW_NUM_FIELD_NUMBER: _ClassVar[int]
    row_num: int
    def __init__(self, row_num: _Optional[int] = ...) -> None: ...

class ControlResponse(_message.Message):
    __slots__ = ("status", "init_msg")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    INIT_MSG_FIELD_NUMBER: _ClassVar[int]
    status: _apis_pb2.Status
    init_msg: InitMsg
    def __init__(self, status: _Optional[_Union[_apis_pb2.Status, _Mapping]] = ..., init_msg: _Optional[_Union[InitMsg, _Mapping]] = ...) -> None: ...
