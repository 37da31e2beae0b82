from sfs_core.proto import serving_pb2 as _serving_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorCode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OK: _ClassVar[ErrorCode]
    INVALID_ARGUMENT: _ClassVar[ErrorCode]
    DEADLINE_EXCEEDED: _ClassVar[ErrorCode]
    NOT_FOUND: _ClassVar[ErrorCode]
    INTERNAL_ERROR: _ClassVar[ErrorCode]
    UNAUTHENTICATED: _ClassVar[ErrorCode]
OK: ErrorCode
INVALID_ARGUMENT: ErrorCode
DEADLINE_EXCEEDED: ErrorCode
NOT_FOUND: ErrorCode
INTERNAL_ERROR: ErrorCode
UNAUTHENTICATED: ErrorCode

class Header(_message.Message):
    __slots__ = ("data",)
    class DataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: _containers.ScalarMap[str, str]
    def __init__(self, data: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ("code", "msg")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MSG_FIELD_NUMBER: _ClassVar[int]
    code: int
    msg: str
    def __init__(self, code: _Optional[int] = ..., msg: _Optional[str] = ...) -> None: ...

class BatchFetchFeatureRequest(_message.Message):
    __slots__ = ("header", "model_service_id", "party_id", "feature_fields", "param")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    MODEL_SERVICE_ID_FIELD_NUMBER: _ClassVar[int]
    PARTY_ID_FIELD_NUMBER: _ClassVar[int]
    FEATURE_FIELDS_FIELD_NUMBER: _ClassVar[int]
    PARAM_FIELD_NUMBER: _ClassVar[int]
    header: Header
    model_service_id: str
    party_id: str
    feature_fields: _containers.RepeatedCompositeFieldContainer[_serving_pb2.FeatureField]
    param: _serving_pb2.FeatureParam
    def __init__(self, header: _Optional[_Union[Header, _Mapping]] = ..., model_service_id: _Optional[str] = ..., party_id: _Optional[str] = ..., feature_fields: _Optional[_Iterable[_Union[_serving_pb2.FeatureField, _Mapping]]] = ..., param: _Optional[_Union[_serving_pb2.FeatureParam, _Mapping]] = ...) -> None: ...

class BatchFetchFeatureResponse(_message.Message):
    __slots__ = ("header", "status", "features")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    header: Header
    status: Status
    features: _containers.RepeatedCompositeFieldContainer[_serving_pb2.Feature]
    def __init__(self, header: _Optional[_Union[Header, _Mapping]] = ..., status: _Optional[_Union[Status, _Mapping]] = ..., features: _Optional[_Iterable[_Union[_serving_pb2.Feature, _Mapping]]] = ...) -> None: ...
