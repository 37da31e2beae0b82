"""Every kind of mistake is told with its file and line, together with all others of the file, and quotes no secret."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sfs_core.config.loader import admin_socket, load, read_config
from sfs_core.errors import ConfigError, ErrorCode

from .conftest import NATIVE, REFERENCE, Write


def problems_of(path: Path) -> list[str]:
    """What loading tells, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert all(problem.startswith(f"{path}:") for problem in caught.value.problems)
    return [problem.removeprefix(f"{path}:") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("party: alice", "party: carol", "2 party: 'carol' is not among parties (alice, bob)"),
        ("party: alice\n", "", "1 party: is missing"),
        (
            "party: alice",
            "party: '${env:PARTY'",
            "2 party: a placeholder is expected to be ${env:NAME} or ${file:PATH}",
        ),
        ("9010", "1.5", "3 listen.service: a whole number is expected"),
        ("party: alice", "prty: alice", "2 prty: there is no such option (hint: did you mean 'party'?)"),
        ("party: alice", "party: 7", "2 party: a text is expected (hint: put it in quotes)"),
        ("party: alice", "party: a/b", "2 party: 1 to 128 characters are expected, none of them a slash"),
        ("party: alice", "party: alice\nparty: bob", "3 party: is given twice, first in line 2"),
        ("party: alice", "party: !!python/name:os.system", "2 party: a value that begins with ! is not read (hint"),
        ("party: alice", "party: ${env:NO_SUCH}", "2 party: environment variable 'NO_SUCH' is not set"),
        ("party: alice", "party: ${file:none}", "2 party: file 'none' cannot be read: No such file or directory"),
        (
            "party: alice",
            "party: ${alice}",
            "2 party: a placeholder is expected to be ${env:NAME} or ${file:PATH} (hint",
        ),
        ("party: alice", 'party: "a\\0"', "2 party: a text holds the character NUL"),
        ("party: alice", "party: alice\ncache: ~nobody-at-all/x", "3 cache: there is no such home directory"),
        ("service: demo", "", "5 service: is missing"),
        ("service: demo", "service: 2024", "1 service: a text is expected"),
        ("9010", "true", "3 listen.service: a number is expected"),
        ("9010", "70000", "3 listen.service: a value less than or equal to 65535 is expected"),
        ("9010", ".nan", "3 listen.service: a finite number"),
        ("9010", "12:30:45", "3 listen.service: a whole number is expected"),
        ("9010", "9110", "3 listen: service, grpc, communication, metrics and health need different ports"),
        ("9010", "9" * 5000, "3 listen.service: the number is too long"),
        (", bob: 127.0.0.1:9120", "", "4 parties: at least 2 are expected"),
        (", bob: 127.0.0.1:9120", ", bob: host", "4 parties.bob.address: a host and a port are expected and nothing"),
        (", bob: 127.0.0.1:9120", ", bob: h:0", "4 parties.bob.address: a host and a port are expected and nothing"),
        (", bob: 127.0.0.1:9120", ", bob: ftp://h:1", "4 parties.bob.address: a host and a port are expected"),
        (", bob: 127.0.0.1:9120", ", bob: {adress: h:1}", "4 parties.bob.address: is missing"),
        (
            "local",
            "lcal",
            "6 model.source.name: no model source named 'lcal' is installed (installed: http, local, s3) (hint: did",
        ),
        ("csv,", "cvs,", "8 features.source.name: no feature source named 'cvs' is installed"),
        (
            "id_column",
            "id_colum",
            "8 features.source.id_colum: there is no such option (hint: did you mean 'id_column'?)",
        ),
        ("path: alice.csv, ", "", "8 features.source.path: is missing"),
        ("name: local, ", "", "6 model.source.name: is missing"),
        (
            "party: alice",
            "party: alice\nlink: {protocol: h2}",
            "3 link.protocol: 'h2' is not spoken here; gRPC is called h2:grpc",
        ),
        (
            "party: alice",
            "party: alice\nlink: {protocol: smtp}",
            "3 link.protocol: one of baidu_std, http, http:proto, h2:grpc",
        ),
        ("party: alice", "party: alice\nlink: {timeout: soon}", "3 link.timeout: a number of seconds is expected, or"),
        ("party: alice", "party: alice\nlink: {timeout: .inf}", "3 link.timeout: "),
        (
            "party: alice",
            "party: alice\nlink: {retry: {retries: -1}}",
            "3 link.retry.retries: a value greater than or equal to 0",
        ),
        (
            "party: alice",
            "party: alice\nbulk_scoring: {requester: eve}",
            "3 bulk_scoring.requester: it is not among parties (alice, bob)",
        ),
        (
            "party: alice",
            "party: alice\nbulk_scoring: {requester: bob}\nworkers: 2",
            "4 workers: bulk scoring takes one process",
        ),
        (
            "party: alice",
            "party: alice\nlogging: {rooms: {lnik: debug}}",
            "3 logging.rooms.lnik: nothing logs under this name; did you mean 'link'?",
        ),
        ("party: alice", "party: alice\nplugins: {deny: sfs-*}", "3 plugins.deny: a list is expected"),
        ("features:", "features:\n  mapping: {a: x, b: x}", "8 features.mapping: several source names stand for x"),
        ("parties:", "partys:", "4 partys: there is no such option (hint: did you mean 'parties'?)"),
        ("model:", "modle:", "5 modle: there is no such option (hint: did you mean 'model'?)"),
        (
            "party: alice",
            "party: alice\nplugins: {directories: [none]}",
            "3 plugins.directories[0]: there is no such folder",
        ),
        ("model:", "model:\n  sha256: abc", "6 model.sha256: a text of the form ^[0-9A-Fa-f]{64}$ is expected"),
    ],
)
def test_each_mistake_with_its_line(old: str, new: str, expected: str, write: Write) -> None:
    assert old in NATIVE
    told = problems_of(write(NATIVE.replace(old, new, 1)))
    assert any(problem.startswith(expected) for problem in told), told


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "it is empty"),
        ("# nothing\n", "it is empty"),
        ("- a\n", "options are expected at its top level"),
        ("just text", "options are expected at its top level"),
        ("a: 1\n---\nb: 2\n", "a second document begins here; one is expected"),
        ("a: [1, 2", "it is neither YAML nor JSON: did not find expected ',' or ']'"),
        ("[a]: 1", "an option's name must be a plain text"),
        ("{[a]: 1}", "an option's name must be a plain text"),
        ("a: *hunter2", "a value that begins with * repeats one marked with &, and there is none"),
        (b"\xff\xfe{}", "it is not UTF-8 text"),
        (b"a: \x01", "it is neither YAML nor JSON"),
        (" " * (1 << 20) + "a: 1", "it is too large for a config"),
    ],
)
def test_files_that_cannot_be_read(content: str | bytes, message: str, write: Write) -> None:
    path = write(content)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.message.startswith(message)
    assert caught.value.where.startswith(str(path))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        ("a:\n\tb: 1\n", "indent with spaces"),
        ("a: 1\nb:\u00a02\nc: 3\n", "a no-break space"),
        ("a: [${env:X}]\n", "inside {} and [], placeholders need quotes"),
        ("a:\n   b: 1\n  c: 2\n", "options of one block begin in the same column"),
    ],
)
def test_lines_that_cannot_be_parsed_come_with_advice(content: str, hint: str, write: Write) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(content))
    assert caught.value.hint.startswith(hint)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.yaml"):
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert caught.value.code == ErrorCode.IO_ERROR


def test_all_problems_at_once_in_the_order_of_lines(write: Write) -> None:
    broken = (
        NATIVE.replace("9010", "abc").replace("local", "lcal").replace("id_column", "id_colum")
        + "cache: ${env:NO_SUCH}\n"
    )
    told = problems_of(write(broken))
    assert [problem.partition(":")[0] for problem in told] == [
        "3 listen.service",
        "6 model.source.name",
        "8 features.source.id_colum",
        "9 cache",
    ]


def test_many_problems_are_cut(write: Write) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(NATIVE + "".join(f"option_{i}: 1\n" for i in range(200))))
    assert caught.value.message.endswith("200 problems")
    assert caught.value.problems[-1] == "and 150 more"


def test_several_services_are_told_apart(write: Write) -> None:
    head, _, service = NATIVE.partition("model:\n")
    head = head.replace("service: demo\n", "")
    block = ("model:\n" + service).replace("\n", "\n    ").rstrip()
    services = f"services:\n  - service: a\n    {block}\n  - service: b\n    {block}\n"
    assert [service.service for service in read_config(write(head + services)).config.services] == ["a", "b"]
    told = problems_of(write(head + services.replace("service: b", "service: b\n    sorce: 1")))
    assert told == ["11 services[1].sorce: there is no such option (hint: known: service, model, features)"]
    assert problems_of(write(head + services.replace("service: b", "service: a"))) == [
        "10 services[1].service: another service has the same id"
    ]


def test_only_the_socket_is_read_to_find_a_server(write: Write, tmp_path: Path) -> None:
    others_problems = NATIVE.replace("demo", "${env:NO_SUCH}").replace("9110", "none")
    assert admin_socket(write(others_problems)) is None
    assert (
        admin_socket(write(others_problems + "admin: {socket: run/alice.sock, http: 1}\n"))
        == tmp_path / "run/alice.sock"
    )
    for wrong, told in (("{socket: '${env:NONE}'}", "'NONE' is not set"), ("{state: a}", "admin.socket: is missing")):
        with pytest.raises(ConfigError) as caught:
            admin_socket(write(others_problems + f"admin: {wrong}\n"))
        assert len(caught.value.problems) == 1
        assert told in caught.value.problems[0]


# ------------------------------------------------------------------------------------------------ secrets
def test_what_placeholders_stand_for_is_not_shown(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SFS_TEST_SECRET", "it's\\hunter2")
    (tmp_path / "secret.txt").write_text("swordfish\n")
    for old in ("alice\n", "demo", "9010", "127.0.0.1:9120", "local", "csv,", "id}", "alice.csv"):
        for placeholder in ("'${env:SFS_TEST_SECRET}'", "'${file:secret.txt}'", "'https://x${file:secret.txt}'"):
            path = write(NATIVE.replace(old, placeholder + old[-1] * (old[-1] in "\n,}"), 1))
            try:
                load(path)
            except ConfigError as error:
                told = "\n".join([str(error), *error.problems])
                assert "hunter2" not in told
                assert "swordfish" not in told


def test_secret_options_are_not_shown(write: Write, tmp_path: Path) -> None:
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "leaky.py").write_text(LEAKY)
    source = "{name: leaky, password: hunter2, limit: 1}"
    path = write(NATIVE.replace("{name: csv, path: alice.csv, id_column: id}", source))
    with pytest.raises(ConfigError) as caught:
        load(path, plugin_directories=[plugins])
    assert caught.value.problems == (f"{path}:8 features.source.password: ********** is too weak",)
    path = write(NATIVE.replace("{name: csv, path: alice.csv, id_column: id}", source.replace("1", "2")))
    with pytest.raises(ConfigError) as caught:
        load(path, plugin_directories=[plugins])
    told = "\n".join(caught.value.problems)
    assert "8 features.source: the plugin fails to check these options (KeyError)" in told
    assert "hunter2" not in told


LEAKY = """
from pydantic import SecretStr, field_validator, model_validator
from sfs_core import FeatureSource, FeatureSourceSpec, PluginConfig, hookimpl

SFS_API = ">=1,<2"

class LeakyConfig(PluginConfig):
    limit: int
    password: SecretStr

    @field_validator("password")
    @classmethod
    def check(cls, value, info):
        if info.data["limit"] == 2:
            raise KeyError(value.get_secret_value())
        raise ValueError(value.get_secret_value() + " is too weak")

class Leaky(FeatureSource):
    Config = LeakyConfig

    def fetch_rows(self, query):
        raise NotImplementedError

@hookimpl
def sfs_feature_sources():
    return [FeatureSourceSpec("leaky", __name__ + ":Leaky", "Shows what it should not.", egress="none")]
"""


# ------------------------------------------------------------------------------------------------ plugins
def test_plugins_that_the_config_disables(write: Write) -> None:
    told = problems_of(write(NATIVE + "plugins: {deny: [sfs-feature-csv]}\n"))
    assert "is installed but disabled" in told[0]


# ------------------------------------------------------------------------------------------------ values
@pytest.mark.parametrize(
    ("party", "expected"),
    [
        ("no", "no"),
        ("on", "on"),
        ("y", "y"),
        ("2024-01-31", "2024-01-31"),
        ("'007'", "007"),
        ("!!str 7", "7"),
        ("1_000", "1_000"),
    ],
)
def test_texts_stay_texts(party: str, expected: str, write: Write) -> None:
    text = NATIVE.replace("party: alice", f"party: {party}").replace("alice: 127", f"{expected}: 127")
    assert read_config(write(text)).config.party == expected


@pytest.mark.parametrize(
    ("port", "expected"),
    [("9e3", 9000), ("0o17", 15), ("017", 17), ("0x1F", 31), ("'9010'", 9010), ("+80", 80), ("9010.0", 9010)],
)
def test_numbers(port: str, expected: int, write: Write) -> None:
    assert read_config(write(NATIVE.replace("9010", port))).config.listen.service == expected


@pytest.mark.parametrize(
    ("text", "seconds"), [("2", 2.0), ("0.5", 0.5), ("500 ms", 0.5), ("2s", 2.0), ("1 min", 60.0), ("'3'", 3.0)]
)
def test_durations(text: str, seconds: float, write: Write) -> None:
    assert read_config(write(NATIVE + f"link: {{timeout: {text}}}\n")).config.link.timeout == seconds


def test_placeholders(write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SFS_TEST_PORT", "9555")
    (tmp_path / "name.txt").write_text("alice.csv\n")
    text = NATIVE.replace("9010", "'${env:SFS_TEST_PORT}'").replace("alice.csv", "'data/${file:name.txt}'")
    loaded = load(write(text.replace("alice.tar.gz", "'$${x}'")))
    assert loaded.config.listen.service == 9555
    assert str(loaded.services[0].feature_sources[0].options.path) == "data/alice.csv"  # type: ignore[attr-defined]
    assert loaded.config.services[0].model.source.path == "${x}"


def test_anchors_repeat_values(write: Write) -> None:
    text = NATIVE.replace("alice: 127.0.0.1:9110", "alice: &a 127.0.0.1:9110").replace("127.0.0.1:9120", "*a ")
    parties = read_config(write(text)).config.parties
    assert parties["alice"] == parties["bob"]


def test_byte_order_marks_are_skipped(write: Write) -> None:
    for text in (NATIVE, REFERENCE):
        assert read_config(write(b"\xef\xbb\xbf" + text.encode())).config.party == "alice"


def test_the_cache_is_in_the_user_s_folder(write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path))
    assert read_config(write(NATIVE)).config.cache == tmp_path / "sfs"
    assert read_config(write(NATIVE + "cache: here")).config.cache == tmp_path / "here"
