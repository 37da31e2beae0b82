"""SFS: private multi-party model serving, assembled from plugins.

The public names, for plugins and for programs that embed SFS. They load on first use (PEP 562), so that a plugin's
declaration module, which needs only `hookimpl` and records, imports neither NumPy nor Arrow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sfs_core.batch import Batch, Projector, Schema
    from sfs_core.block import BlockLayout, TableBlock
    from sfs_core.codec.protobuf_json import ProtobufJsonError, read_protobuf_json
    from sfs_core.errors import (
        ConfigError,
        ErrorCode,
        FeatureError,
        GraphError,
        PackageError,
        PeerError,
        PluginError,
        RequestError,
        SfsError,
    )
    from sfs_core.model.builder import GraphBuilder
    from sfs_core.model.graph import Dispatch, Graph, HeKeys
    from sfs_core.model.package import Model, read_package, write_package
    from sfs_core.proto import compute_pb2
    from sfs_core.sdk.authenticator import (
        AuthenticationError,
        Authenticator,
        AuthenticatorContext,
        Caller,
        Credentials,
    )
    from sfs_core.sdk.context import FeatureContext, PluginConfig, PluginContext
    from sfs_core.sdk.data_types import DATA_TYPES, numeric_type
    from sfs_core.sdk.feature_source import FeatureQuery, FeatureResult, FeatureSource
    from sfs_core.sdk.hookspecs import PLUGIN_API, PredictionEvent, ServerHandle, hookimpl
    from sfs_core.sdk.link_functions import LinkFunction, link_function
    from sfs_core.sdk.model_source import ModelSource, Progress
    from sfs_core.sdk.operator import (
        AttributeValue,
        Cluster,
        ComputeContext,
        ExecutionView,
        Float32,
        Fusion,
        Int32,
        NodeSpec,
        Operator,
        attr,
    )
    from sfs_core.sdk.specs import AuthenticatorSpec, CommandSpec, FeatureSourceSpec, ModelSourceSpec, OperatorSpec

__version__ = "0.1.0"

_HOMES = {
    "sfs_core.batch": ["Batch", "Projector", "Schema"],
    "sfs_core.block": ["BlockLayout", "TableBlock"],
    "sfs_core.codec.protobuf_json": ["ProtobufJsonError", "read_protobuf_json"],
    "sfs_core.errors": [
        "ConfigError",
        "ErrorCode",
        "FeatureError",
        "GraphError",
        "PackageError",
        "PeerError",
        "PluginError",
        "RequestError",
        "SfsError",
    ],
    "sfs_core.model.builder": ["GraphBuilder"],
    "sfs_core.model.graph": ["Dispatch", "Graph", "HeKeys"],
    "sfs_core.model.package": ["Model", "read_package", "write_package"],
    "sfs_core.sdk.authenticator": [
        "AuthenticationError",
        "Authenticator",
        "AuthenticatorContext",
        "Caller",
        "Credentials",
    ],
    "sfs_core.sdk.context": ["FeatureContext", "PluginConfig", "PluginContext"],
    "sfs_core.sdk.data_types": ["DATA_TYPES", "numeric_type"],
    "sfs_core.sdk.feature_source": ["FeatureQuery", "FeatureResult", "FeatureSource"],
    "sfs_core.sdk.hookspecs": ["PLUGIN_API", "PredictionEvent", "ServerHandle", "hookimpl"],
    "sfs_core.sdk.link_functions": ["LinkFunction", "link_function"],
    "sfs_core.sdk.model_source": ["ModelSource", "Progress"],
    "sfs_core.sdk.operator": [
        "AttributeValue",
        "Cluster",
        "ComputeContext",
        "ExecutionView",
        "Float32",
        "Fusion",
        "Int32",
        "NodeSpec",
        "Operator",
        "attr",
    ],
    "sfs_core.sdk.specs": [
        "AuthenticatorSpec",
        "CommandSpec",
        "FeatureSourceSpec",
        "ModelSourceSpec",
        "OperatorSpec",
    ],
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
_MODULES = {"compute_pb2": "sfs_core.proto.compute_pb2"}

__all__ = [
    "DATA_TYPES",
    "PLUGIN_API",
    "AttributeValue",
    "AuthenticationError",
    "Authenticator",
    "AuthenticatorContext",
    "AuthenticatorSpec",
    "Batch",
    "BlockLayout",
    "Caller",
    "Cluster",
    "CommandSpec",
    "ComputeContext",
    "ConfigError",
    "Credentials",
    "Dispatch",
    "ErrorCode",
    "ExecutionView",
    "FeatureContext",
    "FeatureError",
    "FeatureQuery",
    "FeatureResult",
    "FeatureSource",
    "FeatureSourceSpec",
    "Float32",
    "Fusion",
    "Graph",
    "GraphBuilder",
    "GraphError",
    "HeKeys",
    "Int32",
    "LinkFunction",
    "Model",
    "ModelSource",
    "ModelSourceSpec",
    "NodeSpec",
    "Operator",
    "OperatorSpec",
    "PackageError",
    "PeerError",
    "PluginConfig",
    "PluginContext",
    "PluginError",
    "PredictionEvent",
    "Progress",
    "Projector",
    "ProtobufJsonError",
    "RequestError",
    "Schema",
    "ServerHandle",
    "SfsError",
    "TableBlock",
    "__version__",
    "attr",
    "compute_pb2",
    "hookimpl",
    "link_function",
    "numeric_type",
    "read_package",
    "read_protobuf_json",
    "write_package",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        value: Any = import_module(_MODULES[name])
    elif name in _HOME_OF:
        value = getattr(import_module(_HOME_OF[name]), name)
    else:
        raise AttributeError(f"module 'sfs_core' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
