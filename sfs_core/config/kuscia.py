"""Kuscia's document about a serving task: a JSON object of texts that hold JSON, turned into a config of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sfs_core.config.document import Node, read_embedded
from sfs_core.config.problems import Problems
from sfs_core.config.reference import Warning_, native_from_serving
from sfs_core.config.reference_messages import (
    HTTP_SOURCE,
    KUSCIA_CLUSTER,
    KUSCIA_INPUT,
    KUSCIA_PORTS,
    OSS_SOURCE,
    TLS,
    Fields,
    Message,
    message_of,
)

__all__ = ["is_kuscia", "native_from_kuscia"]

_NEEDED: Final[Mapping[str, Fields]] = {
    "input_config": KUSCIA_INPUT,
    "cluster_def": KUSCIA_CLUSTER,
    "allocated_ports": KUSCIA_PORTS,
}
_OPTIONAL: Final[Mapping[str, Fields]] = {
    "oss_meta": OSS_SOURCE,
    "http_source_meta": HTTP_SOURCE,
    "spi_tls_config": TLS,
}
_PORTS: Final = {
    "service": "service_port",
    "communication": "communication_port",
    "brpc-builtin": "brpc_builtin_service_port",
    "internal": "metrics_exposer_port",
}
"""Ports of ServerConfig by the names that they have in Kuscia."""
_EVERY_ADDRESS: Final = "0.0.0.0"  # noqa: S104 - as the reference; Kuscia decides who reaches the container


def is_kuscia(tree: Node) -> bool:
    """Whether a document is one of Kuscia's."""
    return "input_config" in tree.value and "cluster_def" in tree.value


def native_from_kuscia(tree: Node, path: Path, problems: Problems) -> tuple[Node, list[Warning_]]:
    """The config of ours that says the same, and what the document says that is done otherwise here.

    Mistakes are noted in `problems`, with the line of the text that they are in, and their place inside.

    Raises:
        ConfigError: the document's own rules are broken.
    """
    serving = _Document(tree, path, problems).serving()
    if problems:  # what follows from them would be told at places where nobody wrote anything
        raise problems.error()
    native, warnings = native_from_serving(serving, problems)
    unread = tree.value.keys() - {"serving_id", *_NEEDED, *_OPTIONAL}
    warnings += [(tree.value[name].line, f"{name} is not read") for name in sorted(unread)]
    return native, warnings


class _Document:
    """Kuscia's document on its way to a ServingConfig."""

    def __init__(self, tree: Node, path: Path, problems: Problems) -> None:
        self._tree, self._path, self._problems = tree, path, problems
        self._parts = {name: self._part(name, fields) for name, fields in {**_NEEDED, **_OPTIONAL}.items()}

    def _part(self, name: str, fields: Fields) -> Message:
        node = self._tree.value.get(name)
        if node is None or node.value in (None, ""):
            if name in _NEEDED:
                self._add(node or self._tree, name, "is missing", "Kuscia's template puts it in")
            return Message(Node({}, self._tree.line, name))
        tree = read_embedded(node, name, self._path, self._problems)
        return message_of(tree, fields, self._problems, name)

    def _add(self, node: Node, where: str, message: str, hint: str = "") -> None:
        self._problems.add(node.line, where, message, hint)

    def serving(self) -> Message:
        """The ServingConfig that the document stands for."""
        parties = self._listed("cluster_def", "parties")
        own = self._own_name(parties)
        config = self._own_config(own)
        predicts = self._predicts(own, [party.get("name", "") for party in parties])
        line = self._tree.line
        serving = {
            "id": self._serving_id(),
            "server_conf": self._server(config.message("server_config"), predicts=predicts),
            "model_conf": self._model(config.message("model_config")),
            "cluster_conf": Node(
                {
                    "self_id": Node(own, line, "cluster_def.selfPartyIdx"),
                    "parties": Node([self._party(party) for party in parties], line, "cluster_def.parties"),
                    **_present("channel_desc", config),
                },
                line,
                "cluster_def",
            ),
        }
        if config.has("feature_source_config"):
            serving["feature_source_conf"] = self._features(config.message("feature_source_config"))
        return Message(Node(serving, line))

    def _serving_id(self) -> Node:
        node: Node = self._tree.value.get("serving_id") or Node("", self._tree.line)
        if not isinstance(node.value, str) or not node.value:
            self._add(node, "serving_id", "a text is expected, it becomes the service's id")
        return Node(node.value, node.line, "serving_id", node.template)

    def _listed(self, part: str, name: str) -> list[Message]:
        return [Message(node) for node in self._parts[part].get(name, [])]

    # -------------------------------------------------------------- the parties
    def _own_name(self, parties: list[Message]) -> str:
        cluster = self._parts["cluster_def"]
        if not cluster.node.value:
            return ""
        index: int = cluster.get("self_party_idx", 0)
        if len(parties) < 2:
            self._add(cluster.node, cluster.where("parties"), "at least 2 are expected")
        elif not 0 <= index < len(parties):
            self._add(
                cluster.field("self_party_idx", 0),
                cluster.where("self_party_idx"),
                f"a position in parties, 0 to {len(parties) - 1}, is expected",
            )
        else:
            return str(parties[index].get("name", ""))
        return ""

    def _party(self, party: Message) -> Node:
        """Id and address: the first endpoint of the last service that is called communication."""
        services = [Message(node) for node in party.get("services", [])]
        address = Node("", party.node.line, party.where("services"))
        for service in services:
            if service.get("port_name", "") == "communication":
                endpoints: list[Node] = service.get("endpoints", [])
                address = Node(
                    f"http://{endpoints[0].value}" if endpoints else "", service.node.line, service.where("endpoints")
                )
        if not address.value:
            self._add(party.node, address.written, "an endpoint of a service with the portName communication is needed")
        name = Node(party.get("name", ""), party.node.line, party.where("name"))
        return Node({"id": name, "address": address}, party.node.line, party.node.written)

    def _own_config(self, own: str) -> Message:
        configs = self._parts["input_config"].message("party_configs")
        if own and self._parts["input_config"].node.value and not configs.has(own):
            self._add(configs.node, configs.node.written, f"there is no entry for this party, {own!r}")
        node = configs.node.value.get(own)
        return Message(node or Node({}, self._tree.line, f"{configs.node.written}.{own}"))

    def _predicts(self, own: str, parties: list[str]) -> bool:
        """Whether this party answers callers: it is listed, or nobody is."""
        listed: list[Node] = self._parts["input_config"].get("predictor_parties", [])
        for node in listed:
            if parties and node.value not in parties:
                self._add(node, node.written, "this is no party of cluster_def")
        return not listed or own in [node.value for node in listed]

    # ----------------------------------------------------- blocks of the config
    def _server(self, server: Message, *, predicts: bool) -> Node:
        ports = {
            port.get("name", ""): port.field("port", port.get("port", 0))
            for port in self._listed("allocated_ports", "ports")
        }
        given = {name: ports[name] for name in _PORTS if name in ports and (predicts or name != "service")}
        part = self._parts["allocated_ports"].node
        for name in ("communication", "service") if predicts else ("communication",):
            if part.value and not (name in given and given[name].value):
                self._add(part, "allocated_ports.ports", f"a port with the name {name} is needed")
        kept = {name: node for name, node in server.node.value.items() if name not in _PORTS.values()}
        host = Node(_EVERY_ADDRESS, server.node.line, f"{server.node.written}.host")
        values = kept | {"host": host} | {_PORTS[name]: node for name, node in given.items()}
        return Node(values, server.node.line, server.node.written)

    def _model(self, model: Message) -> Node:
        values = dict(model.node.value)
        oss, http = self._parts["oss_meta"].node, self._parts["http_source_meta"].node
        kind = model.get("source_type", "")
        if kind == "ST_OSS":
            if not oss.value:
                self._add(oss, "oss_meta", "is missing, and the model is to come from object storage (ST_OSS)")
            values["oss_source_meta"] = oss
        if kind == "ST_HTTP" and http.value:
            values["http_source_meta"] = http
        return Node(values, model.node.line, model.node.written)

    def _features(self, features: Message) -> Node:
        tls = self._parts["spi_tls_config"].node
        values = dict(features.node.value)
        if tls.value and "http_opts" in values:
            http: Node = values["http_opts"]
            values["http_opts"] = Node(http.value | {"tls_config": tls}, http.line, http.written)
        return Node(values, features.node.line, features.node.written)


def _present(name: str, message: Message) -> dict[str, Node]:
    return {name: message.node.value[name]} if message.has(name) else {}
