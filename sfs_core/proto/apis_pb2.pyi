from sfs_core.proto import serving_pb2 as _serving_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FeatureSourceType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNKNOWN_FS_TYPE: _ClassVar[FeatureSourceType]
    FS_NONE: _ClassVar[FeatureSourceType]
    FS_SERVICE: _ClassVar[FeatureSourceType]
    FS_PREDEFINED: _ClassVar[FeatureSourceType]
UNKNOWN_FS_TYPE: FeatureSourceType
FS_NONE: FeatureSourceType
FS_SERVICE: FeatureSourceType
FS_PREDEFINED: FeatureSourceType

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

class ServiceSpec(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ("code", "msg")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MSG_FIELD_NUMBER: _ClassVar[int]
    code: int
    msg: str
    def __init__(self, code: _Optional[int] = ..., msg: _Optional[str] = ...) -> None: ...

class Score(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: float
    def __init__(self, name: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...

class PredictResult(_message.Message):
    __slots__ = ("scores",)
    SCORES_FIELD_NUMBER: _ClassVar[int]
    scores: _containers.RepeatedCompositeFieldContainer[Score]
    def __init__(self, scores: _Optional[_Iterable[_Union[Score, _Mapping]]] = ...) -> None: ...

class PredictRequest(_message.Message):
    __slots__ = ("header", "service_spec", "fs_params", "predefined_features")
    class FsParamsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _serving_pb2.FeatureParam
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_serving_pb2.FeatureParam, _Mapping]] = ...) -> None: ...
    HEADER_FIELD_NUMBER: _ClassVar[int]
    SERVICE_SPEC_FIELD_NUMBER: _ClassVar[int]
    FS_PARAMS_FIELD_NUMBER: _ClassVar[int]
    PREDEFINED_FEATURES_FIELD_NUMBER: _ClassVar[int]
    header: Header
    service_spec: ServiceSpec
    fs_params: _containers.MessageMap[str, _serving_pb2.FeatureParam]
    predefined_features: _containers.RepeatedCompositeFieldContainer[_serving_pb2.Feature]
    def __init__(self, header: _Optional[_Union[Header, _Mapping]] = ..., service_spec: _Optional[_Union[ServiceSpec, _Mapping]] = ..., fs_params: _Optional[_Mapping[str, _serving_pb2.FeatureParam]] = ..., predefined_features: _Optional[_Iterable[_Union[_serving_pb2.Feature, _Mapping]]] = ...) -> None: ...

class PredictResponse(_message.Message):
    __slots__ = ("header", "status", "service_spec", "results")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SERVICE_SPEC_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    header: Header
    status: Status
    service_spec: ServiceSpec
    results: _containers.RepeatedCompositeFieldContainer[PredictResult]
    def __init__(self, header: _Optional[_Union[Header, _Mapping]] = ..., status: _Optional[_Union[Status, _Mapping]] = ..., service_spec: _Optional[_Union[ServiceSpec, _Mapping]] = ..., results: _Optional[_Iterable[_Union[PredictResult, _Mapping]]] = ...) -> None: ...

class FeatureSource(_message.Message):
    __slots__ = ("type", "fs_param", "predefineds")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    FS_PARAM_FIELD_NUMBER: _ClassVar[int]
    PREDEFINEDS_FIELD_NUMBER: _ClassVar[int]
    type: FeatureSourceType
    fs_param: _serving_pb2.FeatureParam
    predefineds: _containers.RepeatedCompositeFieldContainer[_serving_pb2.Feature]
    def __init__(self, type: _Optional[_Union[FeatureSourceType, str]] = ..., fs_param: _Optional[_Union[_serving_pb2.FeatureParam, _Mapping]] = ..., predefineds: _Optional[_Iterable[_Union[_serving_pb2.Feature, _Mapping]]] = ...) -> None: ...

class IoData(_message.Message):
    __slots__ = ("datas",)
    DATAS_FIELD_NUMBER: _ClassVar[int]
    datas: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, datas: _Optional[_Iterable[bytes]] = ...) -> None: ...

class NodeIo(_message.Message):
    __slots__ = ("name", "ios")
    NAME_FIELD_NUMBER: _ClassVar[int]
    IOS_FIELD_NUMBER: _ClassVar[int]
    name: str
    ios: _containers.RepeatedCompositeFieldContainer[IoData]
    def __init__(self, name: _Optional[str] = ..., ios: _Optional[_Iterable[_Union[IoData, _Mapping]]] = ...) -> None: ...

class ExecutionTask(_message.Message):
    __slots__ = ("execution_id", "nodes")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    execution_id: int
    nodes: _containers.RepeatedCompositeFieldContainer[NodeIo]
    def __init__(self, execution_id: _Optional[int] = ..., nodes: _Optional[_Iterable[_Union[NodeIo, _Mapping]]] = ...) -> None: ...

class ExecuteResult(_message.Message):
    __slots__ = ("execution_id", "nodes")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    execution_id: int
    nodes: _containers.RepeatedCompositeFieldContainer[NodeIo]
    def __init__(self, execution_id: _Optional[int] = ..., nodes: _Optional[_Iterable[_Union[NodeIo, _Mapping]]] = ...) -> None: ...

class ExecuteRequest(_message.Message):
    __slots__ = ("header", "requester_id", "service_spec", "session_id", "feature_source", "task")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    REQUESTER_ID_FIELD_NUMBER: _ClassVar[int]
    SERVICE_SPEC_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    FEATURE_SOURCE_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    header: Header
    requester_id: str
    service_spec: ServiceSpec
    session_id: str
    feature_source: FeatureSource
    task: ExecutionTask
    def __init__(self, header: _Optional[_Union[Header, _Mapping]] = ..., requester_id: _Optional[str] = ..., service_spec: _Optional[_Union[ServiceSpec, _Mapping]] = ..., session_id: _Optional[str] = ..., feature_source: _Optional[_Union[FeatureSource, _Mapping]] = ..., task: _Optional[_Union[ExecutionTask, _Mapping]] = ...) -> None: ...

class ExecuteResponse(_message.Message):
    __slots__ = ("header", "status", "service_spec", "session_id", "result")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SERVICE_SPEC_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    header: Header
    status: Status
    service_spec: ServiceSpec
    session_id: str
    result: ExecuteResult
    def __init__(self, header: _Optional[_Union[Header, _Mapping]] = ..., status: _Optional[_Union[Status, _Mapping]] = ..., service_spec: _Optional[_Union[ServiceSpec, _Mapping]] = ..., session_id: _Optional[str] = ..., result: _Optional[_Union[ExecuteResult, _Mapping]] = ...) -> None: ...

class GetModelInfoRequest(_message.Message):
    __slots__ = ("header", "service_spec")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    SERVICE_SPEC_FIELD_NUMBER: _ClassVar[int]
    header: Header
    service_spec: ServiceSpec
    def __init__(self, header: _Optional[_Union[Header, _Mapping]] = ..., service_spec: _Optional[_Union[ServiceSpec, _Mapping]] = ...) -> None: ...

class GetModelInfoResponse(_message.Message):
    __slots__ = ("header", "status", "service_spec", "model_info")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SERVICE_SPEC_FIELD_NUMBER: _ClassVar[int]
    MODEL_INFO_FIELD_NUMBER: _ClassVar[int]
    header: Header
    status: Status
    service_spec: ServiceSpec
    model_info: _serving_pb2.ModelInfo
    def __init__(self, header: _Optional[_Union[Header, _Mapping]] = ..., status: _Optional[_Union[Status, _Mapping]] = ..., service_spec: _Optional[_Union[ServiceSpec, _Mapping]] = ..., model_info: _Optional[_Union[_serving_pb2.ModelInfo, _Mapping]] = ...) -> None: ...
