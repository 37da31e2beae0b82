"""TLS in configs: every wrong file is told with its place, before anything is served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sfs_core.config.loader import load
from sfs_core.errors import ConfigError
from tests.support.certificates import EXPIRED, NOT_YET, Certificates
from tests.support.clusters import ClusterFiles, linear_files


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def files(tmp_path: Path, certificates: Certificates) -> ClusterFiles:
    made = linear_files(tmp_path, ["a"], {"alice": {"x": [1.0]}, "bob": {"y": [3.0]}})
    made.configs["alice"]["listen"]["tls"] = certificates.options("alice")
    return made


def test_one_block_is_enough(files: ClusterFiles, certificates: Certificates) -> None:
    loaded = load(files.write("alice"))
    tls = loaded.config.tls_with("bob")
    assert tls is not None
    assert tls.ca_file == certificates.ca_file
    assert loaded.config.listen.tls_of("metrics") is loaded.config.listen.tls
    assert not loaded.file.warnings


def test_a_certificate_of_another_party_is_warned_of(files: ClusterFiles, certificates: Certificates) -> None:
    files.configs["alice"]["listen"]["tls"] = certificates.options("carol")
    (warning,) = load(files.write("alice")).file.warnings
    assert "is not made out to party 'alice'" in warning


@pytest.mark.parametrize(
    ("which", "option", "told"),
    [
        ("missing", "key_file", "cannot be read: No such file"),
        ("no certificate", "certificate_file", "holds no certificate that can be read"),
        ("another's key", "key_file", "does not belong to the certificate"),
        ("expired", "certificate_file", "expired on"),
        ("not yet", "certificate_file", "is not valid before"),
        ("encrypted", "key_file", "is encrypted"),
        ("wrong password", "key_password", "cannot be decrypted"),
        ("empty CA", "ca_file", "holds no certificate that can be read"),
    ],
)
def test_files_that_cannot_be_used(
    files: ClusterFiles, certificates: Certificates, which: str, option: str, told: str
) -> None:
    options: dict[str, Any] = files.configs["alice"]["listen"]["tls"]
    locked = certificates.options("locked", password="canary")
    empty = certificates.folder / "empty"
    empty.touch()
    options |= {
        "missing": {"key_file": "nowhere.key"},
        "no certificate": {"certificate_file": options["key_file"]},
        "another's key": {"key_file": certificates.options("carol")["key_file"]},
        "expired": certificates.options("expired", age=EXPIRED),
        "not yet": certificates.options("not-yet", age=NOT_YET),
        "encrypted": {key: value for key, value in locked.items() if key != "key_password"},
        "wrong password": locked | {"key_password": "canary2"},
        "empty CA": {"ca_file": str(empty)},
    }[which]
    with pytest.raises(ConfigError) as caught:
        load(files.write("alice"))
    (problem,) = caught.value.problems
    assert f" listen.tls.{option}: " in problem
    assert told in problem
    assert "canary" not in problem


@pytest.mark.parametrize(
    ("bob", "told"),
    [
        ("http://127.0.0.1:1", "parties.bob.address: begins with http://, but TLS is configured"),
        ({"address": "https://127.0.0.1:1", "tls": False}, "parties.bob.tls: is false, but the address begins"),
        ({"address": "b:1", "tls": {"ca_file": "no.crt"}}, "parties.bob.tls.ca_file: "),
        ({"address": "b:1", "tls": {"identities": ["alice"]}}, "parties.bob: certificates of 'alice' and 'bob'"),
        ({"address": "b:1", "tls": {"key_file": "k"}}, "parties.bob.tls: a key needs its certificate_file"),
    ],
)
def test_contradictions_are_told(files: ClusterFiles, bob: Any, told: str) -> None:
    files.configs["alice"]["parties"]["bob"] = bob
    with pytest.raises(ConfigError) as caught:
        load(files.write("alice"))
    assert any(told in problem for problem in caught.value.problems), caught.value.problems
