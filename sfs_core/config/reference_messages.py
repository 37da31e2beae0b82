"""Messages of the reference as its JSON writes them: their fields, and how a document's tree is read as one.

Protobuf's JSON rules hold (snake_case and lowerCamelCase, enums by name or number), with the reference's leniency:
quoted booleans, numbers as text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from typing import Any, Final

from sfs_core.config.document import Node
from sfs_core.config.problems import Problems

__all__ = [
    "HTTP_SOURCE",
    "INFERENCE",
    "KUSCIA_CLUSTER",
    "KUSCIA_INPUT",
    "KUSCIA_PORTS",
    "LOGGING",
    "OSS_SOURCE",
    "SERVING",
    "TLS",
    "TRACE",
    "Fields",
    "Message",
    "camel_case",
    "message_of",
]

Fields = Mapping[str, Any]
"""What a message may hold: by snake_case name a type's name, an enum's names, the fields of a nested message, a list
of one of these, or `{"*": fields}` for a map of messages."""

_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,19}")
_BOOLEANS: Final = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
_BACKOFF_MODES: Final = ("INVALID_MODE", "FIXED_BACKOFF", "EXPONENTIAL_BACKOFF", "RANDOM_BACKOFF")
_LOG_LEVELS: Final = ("INVALID_LOG_LEVEL", "DEBUG_LOG_LEVEL", "INFO_LOG_LEVEL", "WARN_LOG_LEVEL", "ERROR_LOG_LEVEL")
_MOCK_TYPES: Final = ("INVALID_MOCK_DATA_TYPE", "MDT_RANDOM", "MDT_FIXED")
_SOURCE_TYPES: Final = ("INVALID_SOURCE_TYPE", "ST_FILE", "ST_OSS", "ST_HTTP", "ST_DP")

_TLS: Final[Fields] = {"certificate_path": "string", "private_key_path": "string", "ca_file_path": "string"}
_RETRY: Final[Fields] = {
    "retry_custom": "bool",
    "retry_aggressive": "bool",
    "max_retry_count": "int",
    "backoff_mode": _BACKOFF_MODES,
    "fixed_backoff_config": {"interval_ms": "int"},
    "exponential_backoff_config": {"init_ms": "int", "factor": "int"},
    "random_backoff_config": {"min_ms": "int", "max_ms": "int"},
}
_SERVER: Final[Fields] = {
    "feature_mapping": "map",
    "tls_config": _TLS,
    "host": "string",
    "service_port": "int",
    "communication_port": "int",
    "brpc_builtin_service_port": "int",
    "metrics_exposer_port": "int",
    "worker_num": "int",
    "max_concurrency": "int",
    "op_exec_worker_num": "int",
}
_MODEL: Final[Fields] = {
    "model_id": "string",
    "base_path": "string",
    "source_path": "string",
    "source_sha256": "string",
    "source_type": _SOURCE_TYPES,
    "file_source_meta": {},
    "oss_source_meta": {
        "access_key": "string",
        "secret_key": "string",
        "virtual_hosted": "bool",
        "endpoint": "string",
        "bucket": "string",
    },
    "http_source_meta": {"connect_timeout_ms": "int", "timeout_ms": "int", "tls_config": _TLS},
    "dp_source_meta": {"dm_host": "string", "tls_config": _TLS},
}
_CHANNEL: Final[Fields] = {
    "protocol": "string",
    "rpc_timeout_ms": "int",
    "connect_timeout_ms": "int",
    "tls_config": _TLS,
    "handshake_max_retry_cnt": "int",
    "handshake_retry_interval_ms": "int",
    "retry_policy_config": _RETRY,
}
_FEATURE_SOURCE: Final[Fields] = {
    "mock_opts": {"type": _MOCK_TYPES},
    "http_opts": {
        "endpoint": "string",
        "enable_lb": "bool",
        "connect_timeout_ms": "int",
        "timeout_ms": "int",
        "tls_config": _TLS,
        "retry_policy_config": _RETRY,
    },
    "csv_opts": {"file_path": "string", "id_name": "string", "streaming_mode": "bool", "block_size": "int"},
    "streaming_opts": {"file_path": "string", "file_format": "string", "id_name": "string", "block_size": "int"},
}
SERVING: Final[Fields] = {
    "id": "string",
    "server_conf": _SERVER,
    "model_conf": _MODEL,
    "cluster_conf": {
        "parties": [{"id": "string", "address": "string"}],
        "self_id": "string",
        "channel_desc": _CHANNEL,
    },
    "feature_source_conf": _FEATURE_SOURCE,
}
LOGGING: Final[Fields] = {
    "system_log_path": "string",
    "log_level": _LOG_LEVELS,
    "max_log_file_size": "long",
    "max_log_file_count": "int",
}
TRACE: Final[Fields] = {
    "trace_log_enable": "bool",
    "trace_log_conf": {
        "trace_log_path": "string",
        "max_trace_log_file_size": "long",
        "max_trace_log_file_count": "int",
    },
}
INFERENCE: Final[Fields] = {
    "requester_id": "string",
    "result_file_path": "string",
    "additional_col_names": ["string"],
    "score_col_name": "string",
    "block_size": "int",
}
KUSCIA_INPUT: Final[Fields] = {
    "party_configs": {
        "*": {
            "server_config": _SERVER,
            "model_config": _MODEL,
            "feature_source_config": _FEATURE_SOURCE,
            "channel_desc": _CHANNEL,
        }
    },
    "predictor_parties": ["string"],
}
KUSCIA_CLUSTER: Final[Fields] = {
    "parties": [
        {"name": "string", "role": "string", "services": [{"port_name": "string", "endpoints": ["string"]}]},
    ],
    "self_party_idx": "int",
    "self_endpoint_idx": "int",
}
KUSCIA_PORTS: Final[Fields] = {
    "ports": [{"name": "string", "port": "int", "scope": "string", "protocol": "string"}],
}
OSS_SOURCE: Final[Fields] = _MODEL["oss_source_meta"]
HTTP_SOURCE: Final[Fields] = _MODEL["http_source_meta"]
TLS: Final[Fields] = _TLS


def message_of(node: Node, fields: Fields, problems: Problems, where: str = "") -> Message:
    """A tree read as a message: names in snake_case, values of the fields' types, each with its place as `written`.

    Args:
        node: the tree.
        fields: what it may hold.
        problems: told of unknown names and wrong types; the message then lacks them.
        where: the place of the tree itself.
    """
    return Message(_Reader(problems).message(node, fields, where))


class _Reader:
    """Checks names and types; gives the same tree with snake_case names and proper values."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems

    def _problem(self, node: Node, where: str, message: str, hint: str = "") -> None:
        self._problems.add(node.line, where, message, hint)

    def message(self, node: Node, fields: Fields, where: str) -> Node:
        if not isinstance(node.value, dict):
            self._problem(node, where, "an object is expected")
            return Node({}, node.line, where)
        if "*" in fields:
            children = {key: self.message(child, fields["*"], f"{where}.{key}") for key, child in node.value.items()}
            return Node(children, node.line, where)
        names = {camel_case(name): name for name in fields} | {name: name for name in fields}
        read: dict[str, Node] = {}
        for key, child in node.value.items():
            name = names.get(key)
            place = f"{where}.{camel_case(name or key)}".lstrip(".")
            if name is None:
                nearest = get_close_matches(key, names, 1)
                hint = f"did you mean {nearest[0]!r}?" if nearest else ""
                self._problem(child, f"{where}.{key}".lstrip("."), "there is no such option", hint)
            elif name in read:
                self._problem(child, place, "is given twice, in two spellings")
            elif child.value is not None:
                read[name] = self._field(child, fields[name], place)
        return Node(read, node.line, where)

    def _field(self, node: Node, kind: Any, where: str) -> Node:
        if isinstance(kind, dict):
            return self.message(node, kind, where)
        if isinstance(kind, list):
            if not isinstance(node.value, list):
                self._problem(node, where, "a list is expected")
                return Node([], node.line, where)
            children = [self._field(child, kind[0], f"{where}[{i}]") for i, child in enumerate(node.value)]
            return Node(children, node.line, where)
        readers: dict[str, Callable[[Node, str], Any]] = {
            "string": self._string,
            "int": partial(self._int, bits=32),
            "long": partial(self._int, bits=64),
            "bool": self._bool,
            "map": self._map,
        }
        read = readers[kind] if isinstance(kind, str) else partial(self._enum, names=kind)
        return Node(read(node, where), node.line, where, node.template)

    def _string(self, node: Node, where: str) -> str:
        if not isinstance(node.value, str):
            self._problem(node, where, "a text is expected")
            return ""
        return node.value

    def _int(self, node: Node, where: str, *, bits: int) -> int:
        value = _whole(node.value)
        if value is None or not -1 << bits - 1 <= value < 1 << bits - 1:
            self._problem(node, where, f"a whole number of at most {bits} bits is expected")
            return 0
        return value

    def _bool(self, node: Node, where: str) -> bool:
        value = _BOOLEANS.get(node.value.lower()) if isinstance(node.value, str) else node.value
        if not isinstance(value, bool):
            self._problem(node, where, "true or false is expected")
            return False
        return value

    def _enum(self, node: Node, where: str, names: tuple[str, ...]) -> str:
        number = _whole(node.value)
        if number is not None and 0 <= number < len(names):
            return names[number]
        if node.value not in names:
            self._problem(node, where, f"one of {', '.join(names)} is expected")
            return names[0]
        return str(node.value)

    def _map(self, node: Node, where: str) -> dict[str, Node]:
        if not isinstance(node.value, dict):
            self._problem(node, where, "an object of texts is expected")
            return {}
        return {
            key: Node(self._string(child, f"{where}.{key}"), child.line, f"{where}.{key}", child.template)
            for key, child in node.value.items()
        }


def _whole(value: Any) -> int | None:
    """A number that is whole, and may stand in quotes."""
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def camel_case(name: str) -> str:
    """A field's name as protobuf's JSON writes it."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


class Message:
    """A message's fields with their defaults."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def has(self, name: str) -> bool:
        """Whether a field is given."""
        return name in self.node.value

    def get(self, name: str, default: Any) -> Any:
        """A field's value; `default` where it is not given."""
        return self.node.value[name].value if name in self.node.value else default

    def message(self, name: str) -> Message:
        """A nested message; an empty one where it is not given."""
        found = self.node.value.get(name)
        return Message(found or Node({}, self.node.line, self.where(name)))

    def where(self, name: str) -> str:
        """The place of a field as the file writes it."""
        return f"{self.node.written}.{camel_case(name)}".lstrip(".")

    def field(self, name: str, value: Any) -> Node:
        """A value that is made of a field, where that stands."""
        found = self.node.value.get(name, self.node)
        return Node(value, found.line, self.where(name), found.template)
