"""The reference's own serving JSON, turned into a config of ours; lines are kept, so that problems are shown where
they stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from sfs_core.config.document import Node
from sfs_core.config.problems import Problems
from sfs_core.config.reference_messages import SERVING, Message, camel_case, message_of

__all__ = ["is_reference", "native_from_reference", "native_from_serving"]

Warning_ = tuple[int, str]
"""The line, and what is done otherwise there."""

_MODEL_SOURCES: Final = {"ST_FILE": "local", "ST_OSS": "s3", "ST_HTTP": "http"}
_SOURCE_METAS: Final = {
    "ST_FILE": "file_source_meta",
    "ST_OSS": "oss_source_meta",
    "ST_HTTP": "http_source_meta",
    "ST_DP": "dp_source_meta",
}
_TLS_FILES: Final = {
    "certificate_path": "certificate_file",
    "private_key_path": "key_file",
    "ca_file_path": "ca_file",
}
_OTHER_PORTS: Final = {
    "service_port": "service",
    "metrics_exposer_port": "metrics",
    "brpc_builtin_service_port": "health",
}
_NOT_HERE: Final = {
    "worker_num": "requests are served by one event loop",
    "op_exec_worker_num": "operators run on the event loop; blocking_threads is for those that take long",
}


def is_reference(tree: Node) -> bool:
    """Whether a document is a serving JSON of the reference rather than a config of ours."""
    blocks = [name for name in SERVING if name != "id"]
    return not {*blocks, *map(camel_case, blocks)}.isdisjoint(tree.value)


def native_from_reference(tree: Node, problems: Problems) -> tuple[Node, list[Warning_]]:
    """The config of ours that says the same, and what it says that is done otherwise here.

    Unknown keys, wrong types, missing values and what is not served are noted in `problems`; the config then
    lacks them.
    """
    return native_from_serving(message_of(tree, SERVING, problems), problems)


def native_from_serving(serving: Message, problems: Problems) -> tuple[Node, list[Warning_]]:
    """As `native_from_reference`, of a ServingConfig that is read already."""
    converter = _Converter(problems)
    return converter.convert(serving), converter.warnings


class _Converter:
    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self.warnings: list[Warning_] = []

    def convert(self, serving: Message) -> Node:
        node = serving.node
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

    def _problem(self, message: Message, name: str, text: str, hint: str = "") -> None:
        self._problems.add(message.field(name, None).line, message.where(name), text, hint)

    def _warn(self, message: Message, name: str, text: str) -> None:
        self.warnings.append((message.field(name, None).line, f"{message.where(name)} {text}"))

    def _tls(self, message: Message) -> Node:
        """The files of a TlsConfig, under their names here."""
        tls = message.message("tls_config")
        given = {ours: tls.field(theirs, tls.get(theirs, "")) for theirs, ours in _TLS_FILES.items()}
        return Node({name: node for name, node in given.items() if node.value}, tls.node.line, tls.node.written)

    def _needed(self, message: Message, name: str) -> Node:
        if not message.get(name, ""):
            self._problem(message, name, "is missing")
        return message.field(name, message.get(name, ""))

    def _seconds(self, message: Message, name: str, default: int) -> Node:
        milliseconds = message.get(name, 0)
        if milliseconds < 0:
            self._warn(message, name, f"is below 0, which means the default of {default} ms, as in the reference")
        return message.field(name, (milliseconds if milliseconds > 0 else default) / 1000)

    def _listen(self, server: Message) -> Node:
        listen = {"host": self._needed(server, "host"), "communication": self._needed(server, "communication_port")}
        for theirs, ours in _OTHER_PORTS.items():
            if port := server.get(theirs, 0):
                listen[ours] = server.field(theirs, port)
        if server.has("tls_config"):
            self._needed(server.message("tls_config"), "certificate_path")
            listen["tls"] = self._tls(server)
        return Node(listen, server.node.line, server.node.written)

    def _parties(self, cluster: Message, server: Message) -> Node:
        """The parties. Their addresses' schemes mean nothing there: channelDesc alone decides how peers are called."""
        secure = cluster.message("channel_desc").has("tls_config")
        parties: dict[str, Node] = {}
        for node in cluster.get("parties", []):
            party = Message(node)
            name = self._needed(party, "id").value
            if name in parties:
                self._problem(party, "id", "this party is listed twice")
            if name == cluster.get("self_id", "") and not party.get("address", ""):  # nobody calls itself
                address = party.field("address", f"127.0.0.1:{max(server.get('communication_port', 0), 1)}")
            else:
                address = self._needed(party, "address")
            if secure:
                address = replace(address, value=address.value.removeprefix("http://"))
            parties[name] = address
            if server.has("tls_config") and not secure:
                parties[name] = Node({"address": address, "tls": Node(False, party.node.line)}, party.node.line)
        return cluster.field("parties", parties)

    def _link(self, channel: Message) -> Node:
        attempts = channel.get("handshake_max_retry_cnt", 0)
        link = {
            "protocol": channel.field("protocol", channel.get("protocol", "").lower() or "baidu_std"),
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

    def _retry(self, policy: Message) -> Node:
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

    def _service(self, serving: Message, server: Message) -> Node:
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
    def _model(self, model: Message) -> Node:
        kind = model.get("source_type", "INVALID_SOURCE_TYPE")
        name = model.field("source_type", _MODEL_SOURCES.get(kind, ""))
        source = {"name": name, "path": self._needed(model, "source_path")}
        if not name.value:
            text = f"{kind} is not served; " if kind == "ST_DP" else ""
            self._problem(model, "source_type", f"{text}one of {', '.join(_MODEL_SOURCES)} is expected")
        for other, meta_name in _SOURCE_METAS.items():
            if name.value and other != kind and model.has(meta_name):
                self._warn(model, meta_name, f"has no effect: sourceType is {kind}")
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
    def _features(self, serving: Message) -> Node | None:
        options = serving.message("feature_source_conf")
        sources: dict[str, Callable[[Message], dict[str, Node]]] = {
            "mock_opts": self._mock,
            "http_opts": self._http_features,
            "csv_opts": self._csv,
            "streaming_opts": self._streaming,
        }
        given = [name for name in sources if options.has(name)]
        if len(given) != 1 and serving.has("feature_source_conf"):
            names = ", ".join(map(camel_case, sources))
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

    def _mock(self, options: Message) -> dict[str, Node]:
        return {"type": options.field("type", "random" if options.get("type", "") == "MDT_RANDOM" else "fixed")}

    def _csv(self, options: Message) -> dict[str, Node]:
        for name in ("streaming_mode", "block_size"):
            if options.get(name, 0):
                self._warn(options, name, "has no effect, as in the reference")
        return {"path": self._needed(options, "file_path"), "id_column": self._needed(options, "id_name")}

    def _streaming(self, options: Message) -> dict[str, Node]:
        if options.get("file_format", "") not in ("", "CSV"):
            self._problem(options, "file_format", "only CSV is served")
        source = {"path": self._needed(options, "file_path"), "id_column": self._needed(options, "id_name")}
        if (size := options.get("block_size", 0)) > 0:
            source["block_size"] = options.field("block_size", size)
        return source

    def _http_features(self, options: Message) -> dict[str, Node]:
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
