"""Asking a feature service as the battery of `check` does: any request, and whatever comes back."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from sfs_core.codec.dialect import from_json
from sfs_core.codec.features import FIELD_TYPE_NAMES, VALUE_LISTS
from sfs_core.config.option_types import Seconds
from sfs_core.errors import ConfigError, RequestError
from sfs_core.proto import spis_pb2
from sfs_core.sdk.context import PluginConfig

__all__ = ["Answer", "BrokenRuleError", "Exchange", "Probe", "read_answer"]

FieldTypeName = Literal["FIELD_BOOL", "FIELD_INT32", "FIELD_INT64", "FIELD_FLOAT", "FIELD_DOUBLE", "FIELD_STRING"]


class Probe(PluginConfig):
    """What a feature service is asked when it is judged."""

    features: dict[str, FieldTypeName] = Field(min_length=1)
    """Features that the service has, and their types."""
    ids: list[str] = Field(min_length=3)
    """Ids that it knows; the rows of at least two should differ."""
    unknown_id: str = "sfs-spi-check-unknown"
    """An id that it does not know."""
    service: str = "sfs-spi-check"
    """The model service to ask as."""
    party: str = "sfs-spi-check"
    """The party to ask as."""
    headers: dict[str, str] = Field(default={})
    """Entries of the requests' header."""
    http_headers: dict[str, SecretStr] = Field(default={})
    """HTTP headers to send, such as Authorization."""
    ca_file: Path | None = None
    """PEM file of the authorities that may vouch for an https service, instead of the system's."""
    timeout: Seconds = 5.0
    """The longest wait for an answer."""
    big_batch: int = Field(default=1000, ge=10, le=100_000)
    """Rows of the largest request."""
    concurrency: int = Field(default=16, ge=2, le=256)
    """Requests under way at a time, where several are."""

    @field_validator("ids")
    @classmethod
    def _different(cls, ids: list[str]) -> list[str]:
        if len(set(ids)) < len(ids):
            raise ValueError("an id is there twice")
        return ids

    @model_validator(mode="after")
    def _unknown(self) -> Self:
        if self.unknown_id in self.ids:
            raise ValueError("unknown_id is among ids")
        return self


class BrokenRuleError(Exception):
    """What a service does against a rule; the text quotes no id and no value."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that could be read: its code, and its features by name.

    Args:
        code: `status.code`.
        types: the type of each feature.
        columns: its values.
        headers: the entries of its header.
        document: the answer as it came.
    """

    code: int
    types: Mapping[str, str]
    columns: Mapping[str, Sequence[Any]]
    headers: Mapping[str, str]
    document: Any


class Exchange:
    """Posts requests to one service; may be used by several threads, each with a connection of its own.

    Raises:
        ConfigError: the URL or the certificates' file cannot be used.
    """

    def __init__(self, url: str, probe: Probe, ca_file: Path | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError("a URL http://… or https://… is expected")
        self.probe = probe
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._host, self._is_tls = parts.hostname, parts.scheme == "https"
        self._headers = {"Content-Type": "application/json", "User-Agent": "sfs"} | {
            name: value.get_secret_value() for name, value in probe.http_headers.items()
        }
        try:
            self._port = parts.port
            self._tls = ssl.create_default_context(cafile=ca_file)
        except (OSError, ValueError) as error:
            raise ConfigError(f"the URL's port or `ca_file` cannot be used ({type(error).__name__})") from None
        self._mine = threading.local()
        self._open: set[http.client.HTTPConnection] = set()

    def ask(
        self,
        ids: Sequence[str],
        features: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask for features of ids.

        Args:
            ids: the ids.
            features: names and types; the probe's, if nothing else is said.
            headers: header entries besides the probe's.

        Raises:
            BrokenRuleError: no answer in time, or none that can be read.
        """
        probe = self.probe
        wanted = probe.features if features is None else features
        request = {
            "header": {"data": {**probe.headers, **(headers or {})}},
            "model_service_id": probe.service,
            "party_id": probe.party,
            "feature_fields": [{"name": name, "type": type_} for name, type_ in wanted.items()],
            "param": {"query_datas": list(ids)},
        }
        status, body = self.post(json.dumps(request).encode())
        if not 200 <= status < 300:
            raise BrokenRuleError(f"HTTP status {status}; errors are told in `status.code` of the answer")
        return read_answer(body)

    def post(self, body: bytes) -> tuple[int, bytes]:
        """HTTP status and body of the answer to any body.

        Raises:
            BrokenRuleError: no answer in time.
        """
        begin = time.monotonic()
        try:
            connection = self._connection()
            try:
                connection.request("POST", self._path, body, self._headers)
            except (http.client.HTTPException, ConnectionError):  # kept open longer than the service does
                connection = self._connection(fresh=True)
                connection.request("POST", self._path, body, self._headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (http.client.HTTPException, OSError, ValueError) as error:
            self._drop()
            spent = time.monotonic() - begin
            raise BrokenRuleError(f"no answer after {spent:.1f} s ({type(error).__name__})") from None

    def _connection(self, *, fresh: bool = False) -> http.client.HTTPConnection:
        if fresh:
            self._drop()
        known: http.client.HTTPConnection | None = getattr(self._mine, "connection", None)
        if known is None:
            timeout = self.probe.timeout
            known = (
                http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._tls)
                if self._is_tls
                else http.client.HTTPConnection(self._host, self._port, timeout=timeout)
            )
            self._mine.connection = known
            self._open.add(known)
        return known

    def _drop(self) -> None:
        known = self._mine.__dict__.pop("connection", None)
        if known is not None:
            known.close()
            self._open.discard(known)

    def close(self) -> None:
        """Close the connections of all threads, which must be done."""
        while self._open:
            self._open.pop().close()


def read_answer(body: bytes) -> Answer:
    """Read an answer in protobuf's JSON.

    Raises:
        BrokenRuleError: it is none; names the field, never a value.
    """
    message = spis_pb2.BatchFetchFeatureResponse()
    try:
        document = json.loads(body)
        from_json(body, message)
    except (ValueError, RecursionError) as error:
        raise BrokenRuleError(f"the answer is not JSON ({type(error).__name__})") from None
    except RequestError as error:
        raise BrokenRuleError(f"the answer cannot be read: {error.message}") from None
    types, columns = {}, {}
    for feature in reversed(message.features):  # of two with one name, the first counts
        name, type_ = feature.field.name, FIELD_TYPE_NAMES.get(feature.field.type, "")
        types[name] = type_
        columns[name] = list(getattr(feature.value, VALUE_LISTS[type_])) if type_ else []
    return Answer(message.status.code, types, columns, dict(message.header.data), document)
