"""Packages: real ones, own ones, hostile ones."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from sfs_core.errors import ErrorCode, PackageError, SfsError
from sfs_core.model.graph import Dispatch, Execution, Graph, HeKeys, graph_to_message
from sfs_core.model.package import Model, PackageLimits, model_info, read_package, write_package
from sfs_core.model.validation import OperatorClass, check_cluster, check_graph
from sfs_core.proto import serving_pb2
from sfs_core.sdk.operator import AttributeValue, NodeSpec

SECRET = b"this-key-is-secret"
MANIFEST = b'{"bundle_path": "model_file", "bundle_format": "FF_JSON"}'
BUNDLE = b'{"name": "demo", "graph": {"version": "0.2.0"}}'


def demo_graph() -> Graph:
    attributes = {"takes": AttributeValue("ss", ["age", "rate"]), "gives": AttributeValue("s", "part")}
    nodes = {
        "dot": NodeSpec("dot", "LOCAL", "0.0.2", (), attributes),
        "merge": NodeSpec("merge", "MERGE", "0.0.1", ("dot",), {"takes": AttributeValue("ss", ["part"])}),
    }
    executions = (Execution(0, ("dot",), Dispatch.ALL), Execution(1, ("merge",), Dispatch.ANYONE))
    return Graph("0.2.0", nodes, executions, HeKeys(b"public", SECRET, 1 << 26))


def archive(files: Mapping[str, bytes] | list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for key, content in files.items() if isinstance(files, Mapping) else files:
            member = tarfile.TarInfo(key) if isinstance(key, str) else key
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Model]:
    path = tmp_path / "package.tar.gz"

    def read(content: Any, **limits: int) -> Model:
        path.write_bytes(content if isinstance(content, bytes) else archive(content))
        return read_package(path, limits=PackageLimits(**limits))

    return read


# ------------------------------------------------------------------ what is read
def test_every_real_package_loads_and_survives_writing(cases: Path, tmp_path: Path) -> None:
    packages = sorted(cases.glob("*/*/*.tar.gz"))
    assert packages
    for package in packages:
        model = read_package(package)
        assert model.name, package
        assert model.graph.nodes, package
        for bundle_format in ("json", "pb"):
            write_package(tmp_path / "again", model.name, model.description, model.graph, bundle_format)
            assert read_package(tmp_path / "again") == model, package


@pytest.mark.parametrize("bundle_format", ["json", "pb"])
def test_equal_models_make_equal_bytes(tmp_path: Path, bundle_format: Any) -> None:
    write_package(tmp_path / "a", "demo", "words", demo_graph(), bundle_format)
    write_package(tmp_path / "b", "demo", "words", demo_graph(), bundle_format)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    model = read_package(tmp_path / "a")
    assert (model.name, model.description, model.graph) == ("demo", "words", demo_graph())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_digest_is_the_files_sha256(read: Callable[..., Model], tmp_path: Path) -> None:
    import hashlib

    model = read({"MANIFEST": MANIFEST, "model_file": BUNDLE})
    assert model.digest == hashlib.sha256((tmp_path / "package.tar.gz").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "manifest",
    [
        MANIFEST,
        b'{"bundlePath": "./model_file", "bundleFormat": 2}',
        b'{"bundlePath": "model_file", "bundle_format": "FF_JSON"}',
    ],
)
def test_dialect_and_dot_slash_prefixes(read: Callable[..., Model], manifest: bytes) -> None:
    folder = tarfile.TarInfo("./")
    folder.type = tarfile.DIRTYPE
    members = [
        (folder, b""),
        (tarfile.TarInfo("./model_file"), BUNDLE),
        (tarfile.TarInfo("./extra/readme"), b"?"),
        (tarfile.TarInfo("./MANIFEST"), manifest),
    ]
    assert read(members).name == "demo"


def test_model_info_holds_no_secret() -> None:
    info = model_info(Model("demo", "words", demo_graph()))
    assert (info.name, info.desc) == ("demo", "words")
    assert SECRET not in info.SerializeToString()


# --------------------------------------------------------------- what is refused
def _link(name: str, kind: bytes) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.linkname = "/etc/hostname"
    return member, b""


@pytest.mark.parametrize("name", ["../MANIFEST", "/MANIFEST", "a/../../b", "a\\..\\b", ".."])
def test_names_that_leave_the_archive_are_refused(read: Callable[..., Model], name: str) -> None:
    with pytest.raises(PackageError, match=r"absolute paths and '\.\.' are refused"):
        read({"MANIFEST": MANIFEST, "model_file": BUNDLE, name: b""})


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(read: Callable[..., Model], kind: bytes) -> None:
    with pytest.raises(PackageError, match="links, devices"):
        read([(tarfile.TarInfo("MANIFEST"), MANIFEST), _link("model_file", kind)])


def test_duplicate_files_are_refused(read: Callable[..., Model]) -> None:
    twice = [(tarfile.TarInfo("model_file"), BUNDLE), (tarfile.TarInfo("./model_file"), BUNDLE)]
    with pytest.raises(PackageError, match="two files"):
        read([(tarfile.TarInfo("MANIFEST"), MANIFEST), *twice])


def test_bombs_are_stopped_early(read: Callable[..., Model]) -> None:
    bomb = archive({"MANIFEST": MANIFEST, "model_file": bytes(64 << 20)})
    with pytest.raises(PackageError, match="unpacks to more than 1000000 bytes"):
        read(bomb, unpacked_bytes=1_000_000)
    many = {f"f{i}": b"" for i in range(50)}
    with pytest.raises(PackageError, match="more than 20 members"):
        read(many, members=20)


def test_headers_count_against_the_limit(read: Callable[..., Model]) -> None:
    long_name = tarfile.TarInfo("x" * 5_000_000)  # needs a header of that size
    with pytest.raises(PackageError, match="unpacks to more"):
        read([(long_name, b"")], unpacked_bytes=1_000_000)


def test_missing_and_broken_archives(read: Callable[..., Model], tmp_path: Path) -> None:
    good = archive({"MANIFEST": MANIFEST, "model_file": BUNDLE})
    with pytest.raises(PackageError, match="No such file") as caught:
        read_package(tmp_path / "absent")
    assert caught.value.code == ErrorCode.IO_ERROR
    broken = [b"", b"PK\x03\x04", good[:-1], good[: len(good) // 2], good + b"garbage", gzip.compress(b"text" * 300)]
    for content in broken:
        with pytest.raises(PackageError) as caught:
            read(content)
        assert caught.value.code == ErrorCode.IO_ERROR


@pytest.mark.parametrize(
    ("files", "code", "message"),
    [
        ({"model_file": BUNDLE}, 10, "no MANIFEST"),
        ({"sub/MANIFEST": MANIFEST, "model_file": BUNDLE}, 10, "no MANIFEST"),
        ({"manifest": MANIFEST, "model_file": BUNDLE}, 10, "no MANIFEST"),
        ({"MANIFEST": MANIFEST}, 10, "no such file"),
        ({"MANIFEST": b'{"bundle_format": "FF_JSON"}'}, 10, "no such file"),
        ({"MANIFEST": b'{"bundle_path": "../x", "bundle_format": "FF_PB"}'}, 10, r"'\.\.'"),
        ({"MANIFEST": b'{"bundle_path": "/x", "bundle_format": "FF_PB"}'}, 10, "absolute"),
        ({"MANIFEST": b'{"bundle_path": "model_file"}', "model_file": BUNDLE}, 2, "not served"),
        ({"MANIFEST": b'{"bundle_path": "model_file", "bundle_format": 7}', "model_file": BUNDLE}, 2, "not served"),
        ({"MANIFEST": b'{"bundle_path": "model_file", "bundle_format": "FF_PB"}', "model_file": BUNDLE}, 9, "not a se"),
        ({"MANIFEST": b"[]", "model_file": BUNDLE}, 9, "an object is expected"),
        ({"MANIFEST": b'{"bundle_path": 3}', "model_file": BUNDLE}, 9, "bundle_path: a text"),
        ({"MANIFEST": b'{"path": "x"}', "model_file": BUNDLE}, 9, "no field 'path'"),
        ({"MANIFEST": MANIFEST, "model_file": b"\xff\xfe\x00"}, 9, "bad encoding"),
        ({"MANIFEST": MANIFEST, "model_file": b"[" * 100_000}, 9, "nested too deeply"),
    ],
)
def test_documents_that_cannot_be_used(
    read: Callable[..., Model], files: Mapping[str, bytes], code: int, message: str
) -> None:
    with pytest.raises(PackageError, match=message) as caught:
        read(files)
    assert caught.value.code == code


_KEY = "c2VjcmV0LWtleS1ieXRlcw=="


@pytest.mark.parametrize(
    ("bundle", "message"),
    [
        ('{"graph": {"he_config": {"sk_buf": "%s", "sk_buff": 1}}}', r"graph.he_config: there is no field 'sk_buff'"),
        ('{"graph": {"he_config": ["%s"]}}', "graph.he_config: an object is expected"),
        ('{"graph": {"he_config": "%s"}}', "graph.he_config: an object is expected"),
        ('{"graph": {"he_config": {"sk_buf": ["%s"]}}}', "graph.he_config.sk_buf: base64 is expected"),
        ('{"graph": {"he_config": {"sk_buf": %s}}}', "line 1, column 36, offset 35"),
        ('{"graph": {"he_config": {"encode_scale": "%s"}}}', "graph.he_config.encode_scale: an integer from"),
        ('{"graph": {"he_config": {"sk_buf": "%s"', "line 1, column 62, offset 61"),
        ('{"graph": {"he_config": {"sk_buf": "@%s"}}}', "sk_buf: base64 is expected"),
        ('{"graph": {"node_list": [{"attr_values": {"w": {"by": "%s "}}}]}}', r"\[w\].by: base64 is expected"),
        ('{"graph": {"execution_list": [{"config": {"dispatch_type": "%s"}}]}}', r"\[0\].config.dispatch_type: one of"),
        ('{"graph": {"node_list": [{"attr_values": {"w": {"d": "%s"}}}]}}', r"list\[0\].attr_values\[w\].d: a number"),
        ('{"graph": {"node_list": [{"attr_values": {"w": {"s": "%s", "i32": 1}}}]}}', "value has several values"),
    ],
)
def test_json_errors_name_the_place_and_never_a_value(read: Callable[..., Model], bundle: str, message: str) -> None:
    with pytest.raises(PackageError, match=message) as caught:
        read({"MANIFEST": MANIFEST, "model_file": (bundle % _KEY).encode()})
    error = caught.value
    assert error.code == ErrorCode.DESERIALIZE_FAILED
    assert _KEY not in str(error) + repr(error) + error.detail
    assert error.__suppress_context__ or error.__context__ is None or _KEY not in str(error.__context__)


# ------------------------------------------------------------------------- fuzzing
_CHUNKS = [b"", b"\x00", b"\xff" * 9, b'"', b"{", b"[]", b"null", b"1e999", b"-1", b"DP_PEER", b"dot", b"\x0a\x00"]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """`data` with a few bytes changed, removed, repeated or put in."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(changed) + 1)
        until = min(len(changed), at + chance.choice((1, 1, 2, 8, 64, 512)))
        way = chance.randrange(5)
        if way == 0:
            changed[at:until] = b""
        elif way == 1:
            changed[at:at] = changed[at:until]
        elif way == 2:
            changed[at:at] = chance.choice(_CHUNKS)
        elif way == 3:
            changed[at:until] = chance.randbytes(until - at)
        elif at < len(changed):
            changed[at] ^= 1 << chance.randrange(8)
    return bytes(changed)


def zipped(data: bytes) -> bytes:
    return gzip.compress(data, 1)


def test_mutated_packages_only_raise_our_errors(
    tmp_path: Path, operator_class: OperatorClass, dice: random.Random
) -> None:
    path = tmp_path / "package.tar.gz"
    message = serving_pb2.ModelBundle(name="demo", graph=graph_to_message(demo_graph()))
    write_package(path, "demo", "", demo_graph())
    whole = path.read_bytes()
    tar = gzip.decompress(whole)
    text = read_member(whole, "model_file")
    binary = message.SerializeToString()
    pb_manifest = b'{"bundle_path": "model_file", "bundle_format": "FF_PB"}'
    makers: list[Callable[[], bytes]] = [
        lambda: mutated(whole, dice),
        lambda: whole[: dice.randrange(len(whole))],
        lambda: zipped(mutated(tar, dice)),
        lambda: zipped(tar[: dice.randrange(len(tar))]),
        lambda: archive({"MANIFEST": MANIFEST, "model_file": mutated(text, dice)}),
        lambda: archive({"MANIFEST": pb_manifest, "model_file": mutated(binary, dice)}),
        lambda: archive({"MANIFEST": mutated(MANIFEST, dice), "model_file": text}),
    ]
    outcomes, leaks = {"served": 0, "refused": 0}, 0
    for round_ in range(10_000):
        content = makers[round_ % len(makers)]()
        path.unlink()  # to overwrite a file takes a file system several times as long
        path.write_bytes(content)
        try:
            model = read_package(path)
            checked = check_graph(model.graph, operator_class)
            check_cluster(checked, ["alice", "bob"])
            model_info(model)
            outcomes["served"] += 1
        except SfsError as error:
            outcomes["refused"] += 1
            leaks += SECRET.decode() in str(error)
    assert min(outcomes.values()) > 100, outcomes
    assert not leaks


def read_member(package: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(package), mode="r:gz") as tar:
        member = tar.extractfile(name)
        assert member is not None
        return member.read()
