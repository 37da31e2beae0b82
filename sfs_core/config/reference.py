"""The reference's own serving JSON, turned into a config of ours.

Protobuf's JSON rules hold (snake_case and lowerCamelCase, enums by name or number), with the reference's leniency:
trailing commas, quoted booleans, integers as text. Lines are kept, so that problems are shown where they stand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from sfs_core.config.document import Node
from sfs_core.errors import ConfigError

__all__ = ["is_reference", "native_from_reference"]

_DEFAULT_CONNECT_MS: Final = 500
_DEFAULT_TIMEOUT_MS: Final = 2000
_BACKOFF_MODES: Final = ("INVALID_MODE", "FIXED_BACKOFF", "EXPONENTIAL_BACKOFF", "RANDOM_BACKOFF")
_SOURCE_TYPES: Final = ("INVALID_SOURCE_TYPE", "ST_FILE", "ST_OSS", "ST_HTTP", "ST_DP")
_MOCK_TYPES: Final = ("INVALID_MOCK_DATA_TYPE", "MDT_RANDOM", "MDT_FIXED")

# What each message may hold: a type name, an enum's names, or a nested message. `[...]` is a list of messages.
Fields = Mapping[str, Any]
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
_SERVING: Final[Fields] = {
    "id": "string",
    "server_conf": {
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
    },
    "model_conf": {
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
    },
    "cluster_conf": {
        "parties": [{"id": "string", "address": "string"}],
        "self_id": "string",
        "channel_desc": {
            "protocol": "string",
            "rpc_timeout_ms": "int",
            "connect_timeout_ms": "int",
            "tls_config": _TLS,
            "handshake_max_retry_cnt": "int",
            "handshake_retry_interval_ms": "int",
            "retry_policy_config": _RETRY,
        },
    },
    "feature_source_conf": {
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
    },
}
_NOT_HERE: Final = {
    "brpc_builtin_service_port": "there are no debug pages; /health and /ready are on the other ports",
    "metrics_exposer_port": "this version has no metrics port",
    "worker_num": "requests are served by one event loop",
    "streaming_mode": "the reference ignores it too",
}


def is_reference(tree: Node) -> bool:
    """Whether a document is a serving JSON of the reference rather than a config of ours."""
    return not {"serverConf", "server_conf", "clusterConf", "cluster_conf", "modelConf", "model_conf"}.isdisjoint(
        tree.value
    )


def native_from_reference(tree: Node, path: Path) -> tuple[Node, tuple[str, ...]]:
    """The config of ours that says the same, and warnings about what cannot be said.

    Raises:
        ConfigError: with every unknown key and wrong type in `problems`, or for what is not served (TLS).
    """
    reader = _Reader(path)
    serving = reader.message(tree, _SERVING, "")
    reader.raise_problems()
    converter = _Converter(path)
    native = converter.convert(serving)
    converter.raise_problems()
    return native, tuple(converter.warnings)


class _Problems:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._problems: list[str] = []

    def problem(self, node: Node, where: str, message: str, hint: str = "") -> None:
        """Note a problem at a node."""
        more = f" (hint: {hint})" if hint else ""
        self._problems.append(f"{self._path}:{node.line} {where}: {message}{more}")

    def raise_problems(self) -> None:
        """Raise what was noted, if anything was."""
        if self._problems:
            count = "1 problem" if len(self._problems) == 1 else f"{len(self._problems)} problems"
            raise ConfigError(f"{self._path}: {count}", problems=tuple(self._problems))


class _Reader(_Problems):
    """Checks names and types; gives the same tree with snake_case names and proper values."""

    def message(self, node: Node, fields: Fields, where: str) -> Node:
        if not isinstance(node.value, dict):
            self.problem(node, where, "an object is expected")
            return Node({}, node.line)
        names = {_camel_case(name): name for name in fields} | {name: name for name in fields}
        read: dict[str, Node] = {}
        for key, child in node.value.items():
            place = f"{where}.{key}" if where else key
            name = names.get(key)
            if name is None:
                nearest = get_close_matches(key, names, 1)
                self.problem(
                    child, place, "there is no such option", f"did you mean {nearest[0]!r}?" if nearest else ""
                )
            elif name in read:
                self.problem(child, place, "is given twice, in two spellings")
            elif child.value is not None:
                read[name] = self._field(child, fields[name], place)
        return Node(read, node.line)

    def _field(self, node: Node, kind: Any, where: str) -> Node:
        if isinstance(kind, dict):
            return self.message(node, kind, where)
        if isinstance(kind, list):
            if not isinstance(node.value, list):
                self.problem(node, where, "a list is expected")
                return Node([], node.line)
            children = [self.message(child, kind[0], f"{where}[{i}]") for i, child in enumerate(node.value)]
            return Node(children, node.line)
        read: Callable[[Node, str], Any] = {
            "string": self._string,
            "int": self._int,
            "bool": self._bool,
            "map": self._map,
        }.get(kind if isinstance(kind, str) else "", lambda n, w: self._enum(n, w, kind))
        return Node(read(node, where), node.line)

    def _string(self, node: Node, where: str) -> str:
        if not isinstance(node.value, str):
            self.problem(node, where, "a text is expected")
            return ""
        return node.value

    def _int(self, node: Node, where: str) -> int:
        value = node.value
        if isinstance(value, str) and value.strip().removeprefix("-").isdigit():
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not -(1 << 31) <= value < 1 << 31:
            self.problem(node, where, "a whole number is expected")
            return 0
        return value

    def _bool(self, node: Node, where: str) -> bool:
        value = {"true": True, "false": False}.get(node.value) if isinstance(node.value, str) else node.value
        if not isinstance(value, bool):
            self.problem(node, where, "true or false is expected")
            return False
        return value

    def _enum(self, node: Node, where: str, names: tuple[str, ...]) -> str:
        if isinstance(node.value, int) and not isinstance(node.value, bool) and 0 <= node.value < len(names):
            return names[node.value]
        if node.value not in names:
            self.problem(node, where, f"one of {', '.join(names)} is expected")
            return names[0]
        return str(node.value)

    def _map(self, node: Node, where: str) -> dict[str, Node]:
        if not isinstance(node.value, dict) or not all(isinstance(v.value, str) for v in node.value.values()):
            self.problem(node, where, "an object of texts is expected")
            return {}
        return dict(node.value)


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


class _Message:
    """A message's fields with their defaults."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def has(self, name: str) -> bool:
        return name in self.node.value

    def get(self, name: str, default: Any) -> Any:
        return self.node.value[name].value if name in self.node.value else default

    def message(self, name: str) -> _Message:
        return _Message(self.node.value.get(name, Node({}, self.node.line)))

    def line(self, name: str) -> int:
        return int(self.node.value[name].line) if name in self.node.value else self.node.line


class _Converter(_Problems):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.warnings: list[str] = []

    def convert(self, node: Node) -> Node:
        serving = _Message(node)
        server, cluster = serving.message("server_conf"), serving.message("cluster_conf")
        channel = cluster.message("channel_desc")
        self._refuse_tls(server, "serverConf")
        self._refuse_tls(channel, "clusterConf.channelDesc")
        for name, instead in _NOT_HERE.items():
            if server.get(name, 0):
                place = f"{self._path}:{server.line(name)} serverConf.{_camel_case(name)}"
                self.warnings.append(f"{place} has no effect: {instead}")
        native = {
            "party": self._needed(cluster, "self_id", "clusterConf.selfId"),
            "listen": self._listen(server),
            "parties": self._parties(cluster),
            "link": self._link(channel),
            "services": Node([self._service(serving, server)], node.line),
            "cache": self._cache(serving.message("model_conf")),
        }
        if server.get("max_concurrency", 0) > 0:
            native["limits"] = _node({"max_concurrency": server.get("max_concurrency", 0)}, server.node.line)
        if server.get("op_exec_worker_num", 0) > 0:
            native["blocking_threads"] = Node(server.get("op_exec_worker_num", 0), server.line("op_exec_worker_num"))
        return Node({key: value for key, value in native.items() if value is not None}, node.line)

    def _refuse_tls(self, message: _Message, where: str) -> None:
        if message.has("tls_config"):
            self.problem(
                message.node.value["tls_config"],
                f"{where}.tlsConfig",
                "TLS is not served by this version",
                "leave it out, inside a network that is protected otherwise",
            )

    def _needed(self, message: _Message, name: str, where: str) -> Node:
        if not message.get(name, ""):
            self.problem(message.node, where, "is missing")
        return Node(message.get(name, ""), message.line(name))

    def _listen(self, server: _Message) -> Node:
        self._needed(server, "host", "serverConf.host")
        listen = {"host": Node(server.get("host", ""), server.line("host"))}
        if server.get("service_port", 0):
            listen["service"] = Node(server.get("service_port", 0), server.line("service_port"))
        if not server.get("communication_port", 0):
            self.problem(server.node, "serverConf.communicationPort", "is missing")
        listen["communication"] = Node(server.get("communication_port", 0), server.line("communication_port"))
        return Node(listen, server.node.line)

    def _parties(self, cluster: _Message) -> Node:
        parties: dict[str, Node] = {}
        for i, node in enumerate(cluster.get("parties", [])):
            party, where = _Message(node), f"clusterConf.parties[{i}]"
            name = self._needed(party, "id", f"{where}.id").value
            if name in parties:
                self.problem(node, where, f"party {name!r} is listed twice")
            parties[name] = self._needed(party, "address", f"{where}.address")
        return Node(parties, cluster.line("parties"))

    def _link(self, channel: _Message) -> Node:
        link: dict[str, Any] = {
            "protocol": channel.get("protocol", "") or "baidu_std",
            "timeout": _seconds(channel.get("rpc_timeout_ms", 0), _DEFAULT_TIMEOUT_MS),
            "connect_timeout": _seconds(channel.get("connect_timeout_ms", 0), _DEFAULT_CONNECT_MS),
            "handshake_attempts": max(channel.get("handshake_max_retry_cnt", 0), 0) or 60,
            "handshake_interval": _seconds(channel.get("handshake_retry_interval_ms", 0), 5000),
            "retry": _retry(channel.message("retry_policy_config")),
        }
        return _node(link, channel.node.line)

    def _service(self, serving: _Message, server: _Message) -> Node:
        service = {"service": self._needed(serving, "id", "id"), "model": self._model(serving.message("model_conf"))}
        features = self._features(serving.message("feature_source_conf"))
        mapping = server.get("feature_mapping", {})
        if features is not None:
            block = {"source": features, "mapping": Node(mapping, server.line("feature_mapping"))}
            service["features"] = Node(block, features.line)
        elif mapping:
            self.problem(server.node, "serverConf.featureMapping", "there is no featureSourceConf that it could map")
        return Node(service, serving.node.line)

    # ------------------------------------------------------------- the model
    def _cache(self, model: _Message) -> Node | None:
        base = model.get("base_path", "")
        return Node(base, model.line("base_path")) if base else None

    def _model(self, model: _Message) -> Node:
        kind = model.get("source_type", "INVALID_SOURCE_TYPE")
        source: dict[str, Any] = {"path": self._needed(model, "source_path", "modelConf.sourcePath")}
        if kind == "ST_FILE":
            source["name"] = "local"
        elif kind == "ST_OSS":
            source["name"] = "s3"
            source |= self._plain_options(model, "oss_source_meta")
        elif kind == "ST_HTTP":
            source["name"] = "http"
            source |= self._http_model(model.message("http_source_meta"))
        else:
            source["name"] = ""
            served = "ST_FILE, ST_OSS or ST_HTTP is expected"
            known = model.node.value.get("source_type", model.node)
            text = f"{kind} is not served; {served}" if kind == "ST_DP" else served
            self.problem(known, "modelConf.sourceType", text)
        native: dict[str, Any] = {"source": _node(source, model.node.line)}
        if model.get("source_sha256", ""):
            native["sha256"] = Node(model.get("source_sha256", ""), model.line("source_sha256"))
        return _node(native, model.node.line)

    def _plain_options(self, model: _Message, name: str) -> dict[str, Any]:
        if not model.has(name):
            self.problem(model.node, f"modelConf.{_camel_case(name)}", "is missing")
        return dict(model.message(name).node.value)

    def _http_model(self, meta: _Message) -> dict[str, Any]:
        self._refuse_tls(meta, "modelConf.httpSourceMeta")
        return {
            "connect_timeout": _seconds(meta.get("connect_timeout_ms", 0), 60_000),
            "timeout": _seconds(meta.get("timeout_ms", 0), 120_000),
        }

    # ---------------------------------------------------------- the features
    def _features(self, options: _Message) -> Node | None:
        given = [name for name in ("mock_opts", "http_opts", "csv_opts", "streaming_opts") if options.has(name)]
        if not given:
            if options.node.value or options.has("mock_opts"):
                self.problem(options.node, "featureSourceConf", "one of mockOpts, csvOpts, httpOpts, streamingOpts")
            return None
        if len(given) > 1:
            self.problem(options.node, "featureSourceConf", "several sources are given, one is expected")
        chosen = options.message(given[0])
        source = {
            "mock_opts": self._mock,
            "csv_opts": self._csv,
            "http_opts": self._http_features,
            "streaming_opts": self._streaming,
        }[given[0]](chosen)
        return _node(source, chosen.node.line)

    def _mock(self, options: _Message) -> dict[str, Any]:
        random = options.get("type", "") == "MDT_RANDOM"
        return {"name": "mock", "type": "random" if random else "fixed"}

    def _csv(self, options: _Message) -> dict[str, Any]:
        return {
            "name": "csv",
            "path": self._needed(options, "file_path", "featureSourceConf.csvOpts.filePath"),
            "id_column": self._needed(options, "id_name", "featureSourceConf.csvOpts.idName"),
        }

    def _streaming(self, options: _Message) -> dict[str, Any]:
        where = "featureSourceConf.streamingOpts"
        if options.get("file_format", "") not in ("", "CSV"):
            self.problem(options.node, f"{where}.fileFormat", "only CSV is served")
        source: dict[str, Any] = {
            "name": "streaming",
            "path": self._needed(options, "file_path", f"{where}.filePath"),
            "id_column": self._needed(options, "id_name", f"{where}.idName"),
        }
        if options.get("block_size", 0) > 0:
            source["block_size"] = options.get("block_size", 0)
        return source

    def _http_features(self, options: _Message) -> dict[str, Any]:
        self._refuse_tls(options, "featureSourceConf.httpOpts")
        return {
            "name": "http",
            "endpoint": self._needed(options, "endpoint", "featureSourceConf.httpOpts.endpoint"),
            "resolve_all": options.get("enable_lb", False),
            "connect_timeout": _seconds(options.get("connect_timeout_ms", 0), _DEFAULT_CONNECT_MS),
            "timeout": _seconds(options.get("timeout_ms", 0), 1000),
            "retry": _retry(options.message("retry_policy_config")),
        }


def _retry(policy: _Message) -> dict[str, Any]:
    retries = policy.get("max_retry_count", 0)
    retry: dict[str, Any] = {
        "retries": 0 if retries < 0 else retries or 3,  # 0 means the default there; a negative number now means none
        "unavailable": policy.get("retry_custom", False),
        "anything": policy.get("retry_aggressive", False),
    }
    mode = policy.get("backoff_mode", "FIXED_BACKOFF")
    if mode == "EXPONENTIAL_BACKOFF":
        config = policy.message("exponential_backoff_config")
        retry |= {
            "backoff": "exponential",
            "interval": _seconds(config.get("init_ms", 0), 10),
            "factor": config.get("factor", 0) or 2,
        }
    elif mode == "RANDOM_BACKOFF":
        config = policy.message("random_backoff_config")
        retry |= {
            "backoff": "random",
            "interval": _seconds(config.get("min_ms", 0), 10),
            "longest": _seconds(config.get("max_ms", 0), 50),
        }
    else:
        retry["interval"] = _seconds(policy.message("fixed_backoff_config").get("interval_ms", 0), 10)
    return retry


def _seconds(milliseconds: int, default: int) -> float:
    return (milliseconds if milliseconds > 0 else default) / 1000


def _node(value: Any, line: int) -> Node:
    """A plain tree as nodes of one line; nodes in it keep theirs."""
    if isinstance(value, Node):
        return value
    if isinstance(value, dict):
        return Node({key: _node(child, line) for key, child in value.items()}, line)
    return Node(value, line)
