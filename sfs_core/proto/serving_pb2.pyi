from sfs_core.proto import op_pb2 as _op_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FieldType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNKNOWN_FIELD_TYPE: _ClassVar[FieldType]
    FIELD_BOOL: _ClassVar[FieldType]
    FIELD_INT32: _ClassVar[FieldType]
    FIELD_INT64: _ClassVar[FieldType]
    FIELD_FLOAT: _ClassVar[FieldType]
    FIELD_DOUBLE: _ClassVar[FieldType]
    FIELD_STRING: _ClassVar[FieldType]

class DataType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNKNOWN_DT_TYPE: _ClassVar[DataType]
    DT_BOOL: _ClassVar[DataType]
    DT_UINT8: _ClassVar[DataType]
    DT_INT8: _ClassVar[DataType]
    DT_UINT16: _ClassVar[DataType]
    DT_INT16: _ClassVar[DataType]
    DT_UINT32: _ClassVar[DataType]
    DT_INT32: _ClassVar[DataType]
    DT_UINT64: _ClassVar[DataType]
    DT_INT64: _ClassVar[DataType]
    DT_FLOAT: _ClassVar[DataType]
    DT_DOUBLE: _ClassVar[DataType]
    DT_STRING: _ClassVar[DataType]
    DT_BINARY: _ClassVar[DataType]

class DispatchType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNKNOWN_DP_TYPE: _ClassVar[DispatchType]
    DP_ALL: _ClassVar[DispatchType]
    DP_ANYONE: _ClassVar[DispatchType]
    DP_SPECIFIED: _ClassVar[DispatchType]
    DP_SELF: _ClassVar[DispatchType]
    DP_PEER: _ClassVar[DispatchType]

class FileFormatType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNKNOWN_FF_TYPE: _ClassVar[FileFormatType]
    FF_PB: _ClassVar[FileFormatType]
    FF_JSON: _ClassVar[FileFormatType]

class LinkFunctionType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNKNOWN_LF_TYPE: _ClassVar[LinkFunctionType]
    LF_EXP: _ClassVar[LinkFunctionType]
    LF_RECIPROCAL: _ClassVar[LinkFunctionType]
    LF_IDENTITY: _ClassVar[LinkFunctionType]
    LF_SIGMOID_RAW: _ClassVar[LinkFunctionType]
    LF_SIGMOID_MM1: _ClassVar[LinkFunctionType]
    LF_SIGMOID_MM3: _ClassVar[LinkFunctionType]
    LF_SIGMOID_GA: _ClassVar[LinkFunctionType]
    LF_SIGMOID_T1: _ClassVar[LinkFunctionType]
    LF_SIGMOID_T3: _ClassVar[LinkFunctionType]
    LF_SIGMOID_T5: _ClassVar[LinkFunctionType]
    LF_SIGMOID_T7: _ClassVar[LinkFunctionType]
    LF_SIGMOID_T9: _ClassVar[LinkFunctionType]
    LF_SIGMOID_LS7: _ClassVar[LinkFunctionType]
    LF_SIGMOID_SEG3: _ClassVar[LinkFunctionType]
    LF_SIGMOID_SEG5: _ClassVar[LinkFunctionType]
    LF_SIGMOID_DF: _ClassVar[LinkFunctionType]
    LF_SIGMOID_SR: _ClassVar[LinkFunctionType]
    LF_SIGMOID_SEGLS: _ClassVar[LinkFunctionType]
    LF_EXP_TAYLOR: _ClassVar[LinkFunctionType]
UNKNOWN_FIELD_TYPE: FieldType
FIELD_BOOL: FieldType
FIELD_INT32: FieldType
FIELD_INT64: FieldType
FIELD_FLOAT: FieldType
FIELD_DOUBLE: FieldType
FIELD_STRING: FieldType
UNKNOWN_DT_TYPE: DataType
DT_BOOL: DataType
DT_UINT8: DataType
DT_INT8: DataType
DT_UINT16: DataType
DT_INT16: DataType
DT_UINT32: DataType
DT_INT32: DataType
DT_UINT64: DataType
DT_INT64: DataType
DT_FLOAT: DataType
DT_DOUBLE: DataType
DT_STRING: DataType
DT_BINARY: DataType
UNKNOWN_DP_TYPE: DispatchType
DP_ALL: DispatchType
DP_ANYONE: DispatchType
DP_SPECIFIED: DispatchType
DP_SELF: DispatchType
DP_PEER: DispatchType
UNKNOWN_FF_TYPE: FileFormatType
FF_PB: FileFormatType
FF_JSON: FileFormatType
UNKNOWN_LF_TYPE: LinkFunctionType
LF_EXP: LinkFunctionType
LF_RECIPROCAL: LinkFunctionType
LF_IDENTITY: LinkFunctionType
LF_SIGMOID_RAW: LinkFunctionType
LF_SIGMOID_MM1: LinkFunctionType
LF_SIGMOID_MM3: LinkFunctionType
LF_SIGMOID_GA: LinkFunctionType
LF_SIGMOID_T1: LinkFunctionType
LF_SIGMOID_T3: LinkFunctionType
LF_SIGMOID_T5: LinkFunctionType
LF_SIGMOID_T7: LinkFunctionType
LF_SIGMOID_T9: LinkFunctionType
LF_SIGMOID_LS7: LinkFunctionType
LF_SIGMOID_SEG3: LinkFunctionType
LF_SIGMOID_SEG5: LinkFunctionType
LF_SIGMOID_DF: LinkFunctionType
LF_SIGMOID_SR: LinkFunctionType
LF_SIGMOID_SEGLS: LinkFunctionType
LF_EXP_TAYLOR: LinkFunctionType

class FeatureValue(_message.Message):
    __slots__ = ("i32s", "i64s", "fs", "ds", "ss", "bs")
    I32S_FIELD_NUMBER: _ClassVar[int]
    I64S_FIELD_NUMBER: _ClassVar[int]
    FS_FIELD_NUMBER: _ClassVar[int]
    DS_FIELD_NUMBER: _ClassVar[int]
    SS_FIELD_NUMBER: _ClassVar[int]
    BS_FIELD_NUMBER: _ClassVar[int]
    i32s: _containers.RepeatedScalarFieldContainer[int]
    i64s: _containers.RepeatedScalarFieldContainer[int]
    fs: _containers.RepeatedScalarFieldContainer[float]
    ds: _containers.RepeatedScalarFieldContainer[float]
    ss: _containers.RepeatedScalarFieldContainer[str]
    bs: _containers.RepeatedScalarFieldContainer[bool]
    def __init__(self, i32s: _Optional[_Iterable[int]] = ..., i64s: _Optional[_Iterable[int]] = ..., fs: _Optional[_Iterable[float]] = ..., ds: _Optional[_Iterable[float]] = ..., ss: _Optional[_Iterable[str]] = ..., bs: _Optional[_Iterable[bool]] = ...) -> None: ...

class FeatureField(_message.Message):
    __slots__ = ("name", "type")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: FieldType
    def __init__(self, name: _Optional[str] = ..., type: _Optional[_Union[FieldType, str]] = ...) -> None: ...

class Feature(_message.Message):
    __slots__ = ("field", "value")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    field: FeatureField
    value: FeatureValue
    def __init__(self, field: _Optional[_Union[FeatureField, _Mapping]] = ..., value: _Optional[_Union[FeatureValue, _Mapping]] = ...) -> None: ...

class FeatureParam(_message.Message):
    __slots__ = ("query_datas", "query_context")
    QUERY_DATAS_FIELD_NUMBER: _ClassVar[int]
    QUERY_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    query_datas: _containers.RepeatedScalarFieldContainer[str]
    query_context: str
    def __init__(self, query_datas: _Optional[_Iterable[str]] = ..., query_context: _Optional[str] = ...) -> None: ...

class RuntimeConfig(_message.Message):
    __slots__ = ("dispatch_type", "session_run", "specific_flag")
    DISPATCH_TYPE_FIELD_NUMBER: _ClassVar[int]
    SESSION_RUN_FIELD_NUMBER: _ClassVar[int]
    SPECIFIC_FLAG_FIELD_NUMBER: _ClassVar[int]
    dispatch_type: DispatchType
    session_run: bool
    specific_flag: bool
    def __init__(self, dispatch_type: _Optional[_Union[DispatchType, str]] = ..., session_run: _Optional[bool] = ..., specific_flag: _Optional[bool] = ...) -> None: ...

class ExecutionDef(_message.Message):
    __slots__ = ("nodes", "config")
    NODES_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedScalarFieldContainer[str]
    config: RuntimeConfig
    def __init__(self, nodes: _Optional[_Iterable[str]] = ..., config: _Optional[_Union[RuntimeConfig, _Mapping]] = ...) -> None: ...

class NodeDef(_message.Message):
    __slots__ = ("name", "op", "parents", "attr_values", "op_version")
    class AttrValuesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _op_pb2.AttrValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_op_pb2.AttrValue, _Mapping]] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    OP_FIELD_NUMBER: _ClassVar[int]
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    ATTR_VALUES_FIELD_NUMBER: _ClassVar[int]
    OP_VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    op: str
    parents: _containers.RepeatedScalarFieldContainer[str]
    attr_values: _containers.MessageMap[str, _op_pb2.AttrValue]
    op_version: str
    def __init__(self, name: _Optional[str] = ..., op: _Optional[str] = ..., parents: _Optional[_Iterable[str]] = ..., attr_values: _Optional[_Mapping[str, _op_pb2.AttrValue]] = ..., op_version: _Optional[str] = ...) -> None: ...

class NodeView(_message.Message):
    __slots__ = ("name", "op", "parents", "op_version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OP_FIELD_NUMBER: _ClassVar[int]
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    OP_VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    op: str
    parents: _containers.RepeatedScalarFieldContainer[str]
    op_version: str
    def __init__(self, name: _Optional[str] = ..., op: _Optional[str] = ..., parents: _Optional[_Iterable[str]] = ..., op_version: _Optional[str] = ...) -> None: ...

class HeConfig(_message.Message):
    __slots__ = ("pk_buf", "sk_buf", "encode_scale")
    PK_BUF_FIELD_NUMBER: _ClassVar[int]
    SK_BUF_FIELD_NUMBER: _ClassVar[int]
    ENCODE_SCALE_FIELD_NUMBER: _ClassVar[int]
    pk_buf: bytes
    sk_buf: bytes
    encode_scale: int
    def __init__(self, pk_buf: _Optional[bytes] = ..., sk_buf: _Optional[bytes] = ..., encode_scale: _Optional[int] = ...) -> None: ...

class HeInfo(_message.Message):
    __slots__ = ("pk_buf", "encode_scale")
    PK_BUF_FIELD_NUMBER: _ClassVar[int]
    ENCODE_SCALE_FIELD_NUMBER: _ClassVar[int]
    pk_buf: bytes
    encode_scale: int
    def __init__(self, pk_buf: _Optional[bytes] = ..., encode_scale: _Optional[int] = ...) -> None: ...

class GraphDef(_message.Message):
    __slots__ = ("version", "node_list", "execution_list", "he_config", "party_num")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NODE_LIST_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_LIST_FIELD_NUMBER: _ClassVar[int]
    HE_CONFIG_FIELD_NUMBER: _ClassVar[int]
    PARTY_NUM_FIELD_NUMBER: _ClassVar[int]
    version: str
    node_list: _containers.RepeatedCompositeFieldContainer[NodeDef]
    execution_list: _containers.RepeatedCompositeFieldContainer[ExecutionDef]
    he_config: HeConfig
    party_num: int
    def __init__(self, version: _Optional[str] = ..., node_list: _Optional[_Iterable[_Union[NodeDef, _Mapping]]] = ..., execution_list: _Optional[_Iterable[_Union[ExecutionDef, _Mapping]]] = ..., he_config: _Optional[_Union[HeConfig, _Mapping]] = ..., party_num: _Optional[int] = ...) -> None: ...

class GraphView(_message.Message):
    __slots__ = ("version", "node_list", "execution_list", "he_info", "party_num")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NODE_LIST_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_LIST_FIELD_NUMBER: _ClassVar[int]
    HE_INFO_FIELD_NUMBER: _ClassVar[int]
    PARTY_NUM_FIELD_NUMBER: _ClassVar[int]
    version: str
    node_list: _containers.RepeatedCompositeFieldContainer[NodeView]
    execution_list: _containers.RepeatedCompositeFieldContainer[ExecutionDef]
    he_info: HeInfo
    party_num: int
    def __init__(self, version: _Optional[str] = ..., node_list: _Optional[_Iterable[_Union[NodeView, _Mapping]]] = ..., execution_list: _Optional[_Iterable[_Union[ExecutionDef, _Mapping]]] = ..., he_info: _Optional[_Union[HeInfo, _Mapping]] = ..., party_num: _Optional[int] = ...) -> None: ...

class ModelBundle(_message.Message):
    __slots__ = ("name", "desc", "graph")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESC_FIELD_NUMBER: _ClassVar[int]
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    name: str
    desc: str
    graph: GraphDef
    def __init__(self, name: _Optional[str] = ..., desc: _Optional[str] = ..., graph: _Optional[_Union[GraphDef, _Mapping]] = ...) -> None: ...

class ModelManifest(_message.Message):
    __slots__ = ("bundle_path", "bundle_format")
    BUNDLE_PATH_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FORMAT_FIELD_NUMBER: _ClassVar[int]
    bundle_path: str
    bundle_format: FileFormatType
    def __init__(self, bundle_path: _Optional[str] = ..., bundle_format: _Optional[_Union[FileFormatType, str]] = ...) -> None: ...

class ModelInfo(_message.Message):
    __slots__ = ("name", "desc", "graph_view")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESC_FIELD_NUMBER: _ClassVar[int]
    GRAPH_VIEW_FIELD_NUMBER: _ClassVar[int]
    name: str
    desc: str
    graph_view: GraphView
    def __init__(self, name: _Optional[str] = ..., desc: _Optional[str] = ..., graph_view: _Optional[_Union[GraphView, _Mapping]] = ...) -> None: ...
