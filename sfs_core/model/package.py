"""Model packages: a gzip-compressed tar of `MANIFEST` and a bundle, read without unpacking anything to disk."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal, TypeVar

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from sfs_core.codec.protobuf_json import ProtobufJsonError, read_protobuf_json
from sfs_core.errors import ErrorCode, PackageError
from sfs_core.model.graph import Graph, graph_from_message, graph_to_message, view_of
from sfs_core.proto import serving_pb2

__all__ = ["Model", "PackageLimits", "model_info", "read_package", "write_package"]

_MANIFEST: Final = "MANIFEST"
_BUNDLE: Final = "model_file"
_BROKEN_ARCHIVE: Final = (tarfile.TarError, OSError, EOFError, zlib.error, ValueError, OverflowError, IndexError)
AnyMessage = TypeVar("AnyMessage", bound=Message)


@dataclass(frozen=True, slots=True)
class PackageLimits:
    """What a package may hold at most, so that a hostile one cannot exhaust this party.

    Args:
        members: files and folders in the archive.
        unpacked_bytes: size of the archive after decompression.
    """

    members: int = 1000
    unpacked_bytes: int = 256 << 20


@dataclass(frozen=True, slots=True)
class Model:
    """A package's content.

    Args:
        name: must be equal at all parties.
        description: free text.
        graph: this party's graph.
        digest: SHA-256 of the archive, lower-case hex.
    """

    name: str
    description: str
    graph: Graph
    digest: str = field(default="", compare=False)


def model_info(model: Model) -> serving_pb2.ModelInfo:
    """What other parties may know of a model (answer of GetModelInfo)."""
    return serving_pb2.ModelInfo(name=model.name, desc=model.description, graph_view=view_of(model.graph))


# ---------------------------------------------------------------------- reading
def read_package(path: Path, *, limits: PackageLimits = PackageLimits(), name: str = "") -> Model:
    """The model in the archive at `path`; its graph is not checked against operators yet.

    Args:
        path: the archive.
        limits: beyond which it is refused.
        name: what errors call it; empty: its path.

    Raises:
        PackageError: the archive is missing, broken, hostile or too large, or lacks MANIFEST or the bundle
            (code 10); a document in it cannot be parsed (code 9); its bundle format is not known (code 2).
        GraphError: the graph has two nodes of one name, or an unknown dispatch type.
    """
    try:
        with path.open("rb") as archive:
            digest = hashlib.file_digest(archive, "sha256").hexdigest()
            archive.seek(0)
            files = _read_archive(archive, limits)
        bundle = _read_bundle(files)
    except PackageError as error:
        error.where = f"{name or path}: {error.where}" if error.where else name or str(path)
        raise
    except _BROKEN_ARCHIVE as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is no gzip-compressed tar"
        raise PackageError(
            f"the package cannot be read: {reason}",
            where=name or str(path),
            hint="fetch it again",
            detail=type(error).__name__,
        ) from None
    return Model(bundle.name, bundle.desc, graph_from_message(bundle.graph), digest)


class _Limited(io.RawIOBase):
    """A stream that breaks off when more than a limit has been read from it."""

    def __init__(self, stream: Any, limit: int) -> None:
        super().__init__()
        self._stream = stream
        self._limit = limit
        self._left = limit

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._stream.read(self._left + 1 if size < 0 else min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise PackageError(f"the archive unpacks to more than {self._limit} bytes")
        return data


def _read_archive(archive: Any, limits: PackageLimits) -> dict[str, bytes]:
    """The regular files of a tar.gz by normalized name."""
    files: dict[str, bytes] = {}
    stream = _Limited(gzip.GzipFile(fileobj=archive), limits.unpacked_bytes)
    with tarfile.open(fileobj=stream, mode="r|") as members:
        for count, member in enumerate(members, 1):
            if count > limits.members:
                raise PackageError(f"the archive has more than {limits.members} members")
            name = _safe_name(member.name, f"member {count}")
            if member.isdir():
                continue
            if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
                raise PackageError("links, devices and sparse files are refused", where=f"member {count}")
            if name in files:
                raise PackageError("the archive has two files of this name", where=f"member {count}")
            content = members.extractfile(member)
            assert content is not None
            files[name] = content.read()
    while stream.read(1 << 16):  # gzip checks its checksum at the end only
        pass
    return files


def _safe_name(name: str, where: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise PackageError("absolute paths and '..' are refused", where=where)
    return str(path)


def _read_bundle(files: dict[str, bytes]) -> serving_pb2.ModelBundle:
    if _MANIFEST not in files:
        raise PackageError(f"the archive has no {_MANIFEST} at its top level")
    manifest = _from_json(files[_MANIFEST], serving_pb2.ModelManifest(), _MANIFEST)
    name = _safe_name(manifest.bundle_path, f"{_MANIFEST} bundle_path")
    if name not in files:
        raise PackageError("the archive has no such file", where=f"{_MANIFEST} bundle_path")
    if manifest.bundle_format == serving_pb2.FF_JSON:
        return _from_json(files[name], serving_pb2.ModelBundle(), "bundle")
    if manifest.bundle_format == serving_pb2.FF_PB:
        try:
            return serving_pb2.ModelBundle.FromString(files[name])
        except DecodeError:
            raise PackageError(
                "not a serialized ModelBundle", code=ErrorCode.DESERIALIZE_FAILED, where="bundle"
            ) from None
    raise PackageError(
        f"bundle_format {manifest.bundle_format} is not served",
        code=ErrorCode.UNEXPECTED_ERROR,
        where=_MANIFEST,
        hint="known: FF_PB, FF_JSON",
    )


def _from_json(document: bytes, message: AnyMessage, what: str) -> AnyMessage:
    """Fill `message` from protobuf JSON; errors give positions and field names, never the document."""
    try:
        return read_protobuf_json(document, message)
    except ProtobufJsonError as error:
        raise PackageError(
            f"not the JSON of a {message.DESCRIPTOR.name}: {error}", code=ErrorCode.DESERIALIZE_FAILED, where=what
        ) from None


# ---------------------------------------------------------------------- writing
def write_package(
    path: Path, name: str, description: str, graph: Graph, bundle_format: Literal["json", "pb"] = "json"
) -> None:
    """Write a package; equal arguments give equal bytes. Only this user may read the file: it holds weights."""
    bundle = serving_pb2.ModelBundle(name=name, desc=description, graph=graph_to_message(graph))
    if bundle_format == "json":
        text = json_format.MessageToJson(bundle, preserving_proto_field_name=True, sort_keys=True, indent=None)
        content, format_name = text.encode(), "FF_JSON"
    else:
        content, format_name = bundle.SerializeToString(deterministic=True), "FF_PB"
    manifest = json.dumps({"bundle_path": _BUNDLE, "bundle_format": format_name}).encode()
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(_archive({_MANIFEST: manifest, _BUNDLE: content}))
            file.close()
            os.replace(file.name, path)  # noqa: PTH105
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
