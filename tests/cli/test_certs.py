"""`sfs certs dev`: certificates that work, and are kept safe."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

import pytest

from sfs_core.cli import main
from sfs_core.config.certificates import TlsFiles, certificate_names, client_context, own_certificate, server_context


def test_certificates_for_development(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "certs"
    assert main(["certs", "dev", str(folder), "--parties", "alice,bob", "--hosts", "bob.example"]) == 0
    printed = capsys.readouterr().out
    assert "Never use them in production" in printed
    for party in ("alice", "bob"):
        files = TlsFiles(folder / f"{party}.crt", folder / f"{party}.key", None, folder / "ca.crt")
        names = certificate_names(own_certificate(files, ssl.Purpose.SERVER_AUTH))
        assert {f"DNS:{party}", f"URI:sfs://party/{party}", "DNS:localhost", "DNS:bob.example"} <= names
        server_context(files, client_certificates=ssl.CERT_REQUIRED)
        client_context(files)
        assert stat.S_IMODE((folder / f"{party}.key").stat().st_mode) == 0o600
        assert f'certificate_file: "{folder / party}.crt"' in printed
    before = (folder / "alice.key").read_bytes()
    assert main(["certs", "dev", str(folder), "--parties", "alice"]) == 1
    assert "has ca.crt, alice.crt, alice.key already" in capsys.readouterr().err
    assert (folder / "alice.key").read_bytes() == before


@pytest.mark.parametrize("parties", ["", "a,a", "a/b", "ca"])
def test_ids_that_cannot_be(tmp_path: Path, parties: str) -> None:
    assert main(["certs", "dev", str(tmp_path), "--parties", parties]) == 2
    assert not list(tmp_path.iterdir())
