"""The reference's own serving JSON, turned into a config of ours.

Protobuf's JSON rules hold (snake_case and lowerCamelCase, enums by name or number), with the reference's leniency:
trailing commas, quoted booleans, integers as text. Lines are kept, so that problems are shown where they stand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, Final

from sfs_core.config.document import Node
from sfs_core.config.problems import Problems

__all__ = ["is_reference", "native_from_reference"]

Warning_ = tuple[int, str]
"""The line, and what is done otherwise there."""

_INTEGER: Final = re.compile(r"-?[0-9]{1,10}")
_BACKOFF_MODES: Final = ("INVALID_MODE", "FIXED_BACKOFF", "EXPONENTIAL_BACKOFF", "RANDOM_BACKOFF")
_SOURCE_TYPES: Final = ("INVALID_SOURCE_TYPE", "ST_FILE", "ST_OSS", "ST_HTTP", "ST_DP")
_MODEL_SOURCES: Final = {"ST_FILE": "local", "ST_OSS": "s3", "ST_HTTP": "http"}
_MOCK_TYPES: Final = ("INVALID_MOCK_DATA_TYPE", "MDT_RANDOM", "MDT_FIXED")

# What each message may hold: a type name, an enum's names, or a nested message. `[...]` is a list of messages.
Fields = Mapping[str, Any]
_TLS: Final[Fields] = {"certificate_path": "string", "private_key_path": "string", "ca_file_path": "string"}
_TLS_FILES: Final = {
    "certificate_path": "certificate_file",
    "private_key_path": "key_file",
    "ca_file_path": "ca_file",
}
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
    "op_exec_worker_num": "operators run on the event loop; blocking_threads is for those that take long",
}


def is_reference(tree: Node) -> bool:
    """Whether a document is a serving JSON of the reference rather than a config of ours."""
    blocks = [name for name in _SERVING if name != "id"]
    return not {*blocks, *map(_camel_case, blocks)}.isdisjoint(tree.value)


def native_from_reference(tree: Node, problems: Problems) -> tuple[Node, list[Warning_]]:
    """The config of ours that says the same, and what it says that is done otherwise here.

    Unknown keys, wrong types, missing values and what is not served are noted in `problems`; the config then
    lacks them.
    """
    serving = _Reader(problems).message(tree, _SERVING, "")
    converter = _Converter(problems)
    return converter.convert(serving), converter.warnings


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
        names = {_camel_case(name): name for name in fields} | {name: name for name in fields}
        read: dict[str, Node] = {}
        for key, child in node.value.items():
            name = names.get(key)
            place = f"{where}.{_camel_case(name or key)}".lstrip(".")
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
            children = [self.message(child, kind[0], f"{where}[{i}]") for i, child in enumerate(node.value)]
            return Node(children, node.line, where)
        read: Callable[[Node, str], Any] = {
            "string": self._string,
            "int": self._int,
            "bool": self._bool,
            "map": self._map,
        }.get(kind if isinstance(kind, str) else "", lambda n, w: self._enum(n, w, kind))
        return Node(read(node, where), node.line, where, node.template)

    def _string(self, node: Node, where: str) -> str:
        if not isinstance(node.value, str):
            self._problem(node, where, "a text is expected")
            return ""
        return node.value

    def _int(self, node: Node, where: str) -> int:
        value = node.value
        if isinstance(value, str) and _INTEGER.fullmatch(value):
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not -(1 << 31) <= value < 1 << 31:
            self._problem(node, where, "a whole number of at most 32 bits is expected")
            return 0
        return value

    def _bool(self, node: Node, where: str) -> bool:
        value = {"true": True, "false": False}.get(node.value) if isinstance(node.value, str) else node.value
        if not isinstance(value, bool):
            self._problem(node, where, "true or false is expected")
            return False
        return value

    def _enum(self, node: Node, where: str, names: tuple[str, ...]) -> str:
        if isinstance(node.value, int) and not isinstance(node.value, bool) and 0 <= node.value < len(names):
            return names[node.value]
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
        found = self.node.value.get(name)
        return _Message(found or Node({}, self.node.line, self.where(name)))

    def where(self, name: str) -> str:
        """The place of a field as the file writes it."""
        return f"{self.node.written}.{_camel_case(name)}".lstrip(".")

    def field(self, name: str, value: Any) -> Node:
        """A value that is made of a field, where that stands."""
        found = self.node.value.get(name, self.node)
        return Node(value, found.line, self.where(name), found.template)


class _Converter:
    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self.warnings: list[Warning_] = []

    def convert(self, node: Node) -> Node:
        serving = _Message(node)
        server, cluster = serving.message("server_conf"), serving.message("cluster_conf")
        for name, instead in _NOT_HERE.items():
            if server.get(name, 0):
                self._warn(server, name, f"has no effect: {instead}")
        native = {
            "party": self._needed(cluster, "self_id"),
            "listen": self._listen(server),
            "parties": self._parties(cluster, server),
            "link": self._link(cluster.message("channel_desc")),
            "services": Node([self._service(serving, server)], node.line),
        }
        model = serving.message("model_conf")
        if base := model.get("base_path", ""):
            native["cache"] = model.field("base_path", base)
        if (limit := server.get("max_concurrency", 0)) > 0:
            native["limits"] = Node({"max_concurrency": server.field("max_concurrency", limit)}, server.node.line)
        return Node(native, node.line)

    def _problem(self, message: _Message, name: str, text: str, hint: str = "") -> None:
        self._problems.add(message.field(name, None).line, message.where(name), text, hint)

    def _warn(self, message: _Message, name: str, text: str) -> None:
        self.warnings.append((message.field(name, None).line, f"{message.where(name)} {text}"))

    def _tls(self, message: _Message) -> Node:
        """The files of a TlsConfig, under their names here."""
        tls = message.message("tls_config")
        given = {ours: tls.field(theirs, tls.get(theirs, "")) for theirs, ours in _TLS_FILES.items()}
        return Node({name: node for name, node in given.items() if node.value}, tls.node.line, tls.node.written)

    def _needed(self, message: _Message, name: str) -> Node:
        if not message.get(name, ""):
            self._problem(message, name, "is missing")
        return message.field(name, message.get(name, ""))

    def _seconds(self, message: _Message, name: str, default: int) -> Node:
        milliseconds = message.get(name, 0)
        if milliseconds < 0:
            self._warn(message, name, f"is below 0, which means the default of {default} ms, as in the reference")
        return message.field(name, (milliseconds if milliseconds > 0 else default) / 1000)

    def _listen(self, server: _Message) -> Node:
        listen = {"host": self._needed(server, "host"), "communication": self._needed(server, "communication_port")}
        if port := server.get("service_port", 0):
            listen["service"] = server.field("service_port", port)
        if server.has("tls_config"):
            self._needed(server.message("tls_config"), "certificate_path")
            listen["tls"] = self._tls(server)
        return Node(listen, server.node.line, server.node.written)

    def _parties(self, cluster: _Message, server: _Message) -> Node:
        """The parties. Their addresses' schemes mean nothing there: channelDesc alone decides how peers are called."""
        secure = cluster.message("channel_desc").has("tls_config")
        parties: dict[str, Node] = {}
        for node in cluster.get("parties", []):
            party = _Message(node)
            name = self._needed(party, "id").value
            if name in parties:
                self._problem(party, "id", "this party is listed twice")
            address = self._needed(party, "address")
            if secure:
                address = replace(address, value=address.value.removeprefix("http://"))
            parties[name] = address
            if server.has("tls_config") and not secure:
                parties[name] = Node({"address": address, "tls": Node(False, party.node.line)}, party.node.line)
        return cluster.field("parties", parties)

    def _link(self, channel: _Message) -> Node:
        attempts = channel.get("handshake_max_retry_cnt", 0)
        link = {
            "protocol": channel.field("protocol", channel.get("protocol", "") or "baidu_std"),
            "timeout": self._seconds(channel, "rpc_timeout_ms", 2000),
            "connect_timeout": self._seconds(channel, "connect_timeout_ms", 500),
            "handshake_attempts": channel.field("handshake_max_retry_cnt", attempts if attempts > 0 else 60),
            "handshake_interval": self._seconds(channel, "handshake_retry_interval_ms", 5000),
            "retry": self._retry(channel.message("retry_policy_config")),
        }
        if channel.has("tls_config"):
            link["tls"] = self._tls(channel)
            text = "peers' certificates must be made out to their host and party, which the reference does not look at"
            if "ca_file" not in link["tls"].value:
                text += ", and come from an authority that this machine trusts, as caFilePath is empty"
            self._warn(channel, "tls_config", text)
        return Node(link, channel.node.line, channel.node.written)

    def _retry(self, policy: _Message) -> Node:
        retries = policy.get("max_retry_count", 0)
        retry = {
            # 0 means the default there; a negative number, which let any count pass there, means none
            "retries": policy.field("max_retry_count", 0 if retries < 0 else retries or 3),
            "unavailable": policy.field("retry_custom", policy.get("retry_custom", False)),
            "anything": policy.field("retry_aggressive", policy.get("retry_aggressive", False)),
        }
        mode = policy.get("backoff_mode", "FIXED_BACKOFF")
        if mode == "EXPONENTIAL_BACKOFF":
            config = policy.message("exponential_backoff_config")
            retry["backoff"] = policy.field("backoff_mode", "exponential")
            retry["interval"] = self._seconds(config, "init_ms", 10)
            retry["factor"] = config.field("factor", config.get("factor", 0) or 2)
        elif mode == "RANDOM_BACKOFF":
            config = policy.message("random_backoff_config")
            retry["backoff"] = policy.field("backoff_mode", "random")
            retry["interval"] = self._seconds(config, "min_ms", 10)
            retry["longest"] = self._seconds(config, "max_ms", 50)
        else:
            retry["interval"] = self._seconds(policy.message("fixed_backoff_config"), "interval_ms", 10)
        return Node(retry, policy.node.line, policy.node.written)

    def _service(self, serving: _Message, server: _Message) -> Node:
        service = {"service": self._needed(serving, "id"), "model": self._model(serving.message("model_conf"))}
        features = self._features(serving)
        mapping = server.get("feature_mapping", {})
        block = {"mapping": server.field("feature_mapping", mapping)} if mapping else {}
        if features is not None:
            block["source"] = features
        if block:
            first = features or block["mapping"]
            service["features"] = Node(block, first.line, first.written)
        return Node(service, serving.node.line)

    # ------------------------------------------------------------- the model
    def _model(self, model: _Message) -> Node:
        kind = model.get("source_type", "INVALID_SOURCE_TYPE")
        name = model.field("source_type", _MODEL_SOURCES.get(kind, ""))
        source = {"name": name, "path": self._needed(model, "source_path")}
        if not name.value:
            text = f"{kind} is not served; " if kind == "ST_DP" else ""
            self._problem(model, "source_type", f"{text}one of {', '.join(_MODEL_SOURCES)} is expected")
        if kind == "ST_OSS":
            if not model.has("oss_source_meta"):
                self._problem(model, "oss_source_meta", "is missing")
            meta = model.message("oss_source_meta")
            if (endpoint := meta.get("endpoint", "")) and "://" not in endpoint:
                self._warn(meta, "endpoint", "is spoken to over https here; write http:// before it for plain HTTP")
            source |= meta.node.value
        elif kind == "ST_HTTP":
            meta = model.message("http_source_meta")
            if meta.has("tls_config"):
                source |= self._tls(meta).value
            source["connect_timeout"] = self._seconds(meta, "connect_timeout_ms", 60_000)
            source["timeout"] = self._seconds(meta, "timeout_ms", 120_000)
        native = {"source": Node(source, model.node.line, model.node.written)}
        if sha256 := model.get("source_sha256", ""):
            native["sha256"] = model.field("source_sha256", sha256)
        return Node(native, model.node.line, model.node.written)

    # ---------------------------------------------------------- the features
    def _features(self, serving: _Message) -> Node | None:
        options = serving.message("feature_source_conf")
        sources: dict[str, Callable[[_Message], dict[str, Node]]] = {
            "mock_opts": self._mock,
            "http_opts": self._http_features,
            "csv_opts": self._csv,
            "streaming_opts": self._streaming,
        }
        given = [name for name in sources if options.has(name)]
        if len(given) != 1 and serving.has("feature_source_conf"):
            names = ", ".join(map(_camel_case, sources))
            self._problem(serving, "feature_source_conf", f"exactly one of {names} is expected")
        if not given:
            return None
        chosen = options.message(given[0])
        source = sources[given[0]](chosen)
        return Node(
            {"name": options.field(given[0], given[0].removesuffix("_opts")), **source},
            chosen.node.line,
            chosen.node.written,
        )

    def _mock(self, options: _Message) -> dict[str, Node]:
        return {"type": options.field("type", "random" if options.get("type", "") == "MDT_RANDOM" else "fixed")}

    def _csv(self, options: _Message) -> dict[str, Node]:
        for name in ("streaming_mode", "block_size"):
            if options.get(name, 0):
                self._warn(options, name, "has no effect, as in the reference")
        return {"path": self._needed(options, "file_path"), "id_column": self._needed(options, "id_name")}

    def _streaming(self, options: _Message) -> dict[str, Node]:
        if options.get("file_format", "") not in ("", "CSV"):
            self._problem(options, "file_format", "only CSV is served")
        source = {"path": self._needed(options, "file_path"), "id_column": self._needed(options, "id_name")}
        if (size := options.get("block_size", 0)) > 0:
            source["block_size"] = options.field("block_size", size)
        return source

    def _http_features(self, options: _Message) -> dict[str, Node]:
        endpoint, files = self._needed(options, "endpoint"), {}
        if options.has("tls_config"):
            files = self._tls(options).value
            endpoint = replace(endpoint, value="https://" + endpoint.value.rpartition("://")[2])
        return {
            "endpoint": endpoint,
            **files,
            "resolve_all": options.field("enable_lb", options.get("enable_lb", False)),
            "connect_timeout": self._seconds(options, "connect_timeout_ms", 500),
            "timeout": self._seconds(options, "timeout_ms", 1000),
            "retry": self._retry(options.message("retry_policy_config")),
        }
