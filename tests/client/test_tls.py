"""The client and the verbs that call servers, over TLS: whom they believe, what they show, what they never send."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sfs_core.client import Client, Tls, UnavailableError
from sfs_core.errors import ConfigError
from tests.cli.sfs import sfs_here
from tests.support.certificates import EXPIRED, Certificates
from tests.support.clusters import ClusterFiles, linear_files
from tests.support.in_process import ServersHere, serving_here

IDS = [f"r{i}" for i in range(3)]
PARTIES = ("alice", "bob")
SCHEMES = ("https", "https+json", "grpcs", "baidu_stds")
NAMED = ("--service", "linear", "--party", "alice", "--party", "bob")
PASSWORD = "canary-password"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> ClusterFiles:
    """alice asks callers for a certificate, bob does not; bob's certificate is made out to no host of this machine."""
    files = linear_files(
        tmp_path_factory.mktemp("tls"), IDS, {"alice": {"x": [0.0, 1.0, 2.0]}, "bob": {"y": [0.25] * 3}}
    )
    alice, bob = (files.configs[party]["listen"] for party in PARTIES)
    alice["service_tls"] = certificates.options("alice")
    bob["service_tls"] = certificates.options("bob-elsewhere", "bob", "bob.example")
    del bob["service_tls"]["ca_file"]
    return files


@pytest.fixture(scope="module")
def servers(files: ClusterFiles) -> Iterator[ServersHere]:
    with serving_here(files) as servers:
        yield servers


def tls_of(certificates: Certificates, name: str = "shop", **more: object) -> Tls:
    """What a client with a certificate of its own takes."""
    files = certificates.files(name, **more)  # type: ignore[arg-type]
    return Tls(files.ca_file, files.certificate_file, files.key_file, files.key_password)


def scores(port: int | None, tls: Tls | None, scheme: str = "https") -> list[float]:
    with Client(f"{scheme}://127.0.0.1:{port}", service="linear", parties=PARTIES, tls=tls, retries=0) as client:
        return client.predict(["r1", "r2"]).score.tolist()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_who_shows_a_good_certificate_is_answered(
    servers: ServersHere, certificates: Certificates, scheme: str
) -> None:
    port = servers["alice"].service_port
    assert scores(port, tls_of(certificates), scheme) == [1.75, 2.75]
    assert scores(port, tls_of(certificates, "locked", password=PASSWORD), scheme) == [1.75, 2.75]
    for refused in (Tls(certificates.ca_file), tls_of(certificates, "impostor", authority="other-ca", party="alice")):
        with pytest.raises(UnavailableError, match="certificate"):
            scores(port, refused, scheme)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_only_who_the_server_should_be_is_asked(servers: ServersHere, certificates: Certificates, scheme: str) -> None:
    port = servers["bob"].service_port
    right = Tls(certificates.ca_file, server_name="bob.example")
    assert scores(port, right, scheme) == [1.75, 2.75]
    for wrong, told in [
        (None, "unable to get local issuer certificate"),  # the machine does not trust the authority
        (Tls(certificates.folder / "other-ca.crt", server_name="bob.example"), "certificate verify failed"),
        (Tls(certificates.ca_file), "IP address mismatch"),
        (Tls(certificates.ca_file, server_name="alice.example"), "Hostname mismatch"),
    ]:
        with pytest.raises(UnavailableError, match=told) as caught:
            scores(port, wrong, scheme)
        assert not caught.value.may_have_run


def test_tls_and_plain_do_not_mix(servers: ServersHere, certificates: Certificates) -> None:
    with pytest.raises(ConfigError, match="options of TLS are given"):
        Client("http://127.0.0.1:1", tls=Tls(certificates.ca_file))
    with pytest.raises(UnavailableError):
        scores(servers["alice"].service_port, None, "http")
    with pytest.raises(UnavailableError, match="TLS"):
        scores(servers["alice"].communication_port, tls_of(certificates))


def test_files_that_cannot_be_used(tmp_path: Path, certificates: Certificates) -> None:
    locked = certificates.files("locked", password=PASSWORD)
    for tls, told in [
        (Tls(tmp_path / "none"), "cannot be read"),
        (Tls(certificate_file=locked.certificate_file, key_file=locked.key_file), "is encrypted"),
        (Tls(None, locked.certificate_file, locked.key_file, "canary-wrong"), "cannot be decrypted"),
        (Tls(key_file=locked.key_file), "a key needs its certificate_file"),
        (tls_of(certificates, "expired", age=EXPIRED, party="alice"), "expired on"),
    ]:
        with pytest.raises(ConfigError, match=told) as caught:
            Client("https://127.0.0.1:1", tls=tls)
        assert "canary" not in str(caught.value) + repr(tls)


def test_new_certificates_are_shown_to_new_connections(
    servers: ServersHere, certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_core.client.client._LOOK_SECONDS", 0.0)
    used = Tls(certificates.ca_file, tmp_path / "x.crt", tmp_path / "x.key")

    def install(name: str, **more: object) -> None:
        files = certificates.files(name, **more)  # type: ignore[arg-type]
        shutil.copy(files.certificate_file, tmp_path / "x.crt")  # type: ignore[arg-type]
        shutil.copy(files.key_file, tmp_path / "x.key")  # type: ignore[arg-type]

    install("impostor", authority="other-ca", party="alice")
    url = f"baidu_stds://127.0.0.1:{servers['alice'].service_port}"
    with Client(url, service="linear", parties=PARTIES, tls=used, retries=0) as client:
        with pytest.raises(UnavailableError):
            client.predict(["r1"])
        install("shop")
        assert client.predict(["r1"]).score.tolist() == [1.75]


@pytest.mark.parametrize(
    ("url", "refused"),
    [
        ("http://10.0.0.1:9", True),
        ("grpc://example.org:9", True),
        ("http+json://localhost.example.org:9", True),
        ("http://127.0.0.2:9", False),
        ("http+json://localhost:9", False),
        ("grpc://[::1]:9", False),
        ("https://10.0.0.1:9", False),
    ],
)
@pytest.mark.parametrize(
    "secret", [{"api_key": "canary"}, {"token": "canary"}, {"headers": {"authorization": "Basic canary"}}]
)
def test_credentials_do_not_leave_the_machine_in_the_clear(url: str, secret: dict[str, str], refused: bool) -> None:
    if refused:
        with pytest.raises(ConfigError, match="in the clear") as caught:
            Client(url, **secret)  # type: ignore[arg-type]
        assert "canary" not in str(caught.value)
        Client(url, plain_credentials=True, **secret).close()  # type: ignore[arg-type]
        Client(url, headers={"X-Tenant": "blue"}).close()
    else:
        Client(url, **secret).close()  # type: ignore[arg-type]


# ---------------------------------------------------------------------- sfs predict, sfs bench
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_verbs_with_a_url(
    servers: ServersHere, certificates: Certificates, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{scheme}://127.0.0.1:{servers['alice'].service_port}"
    locked = certificates.files("locked", password=PASSWORD)
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    trust = ("--ca-file", certificates.ca_file)
    own = ("--certificate-file", locked.certificate_file, "--key-file", locked.key_file)
    result = sfs_here("predict", url, *NAMED, *trust, *own, "--key-password-file", tmp_path / "password", "r1")
    assert (result.returncode, result.stdout.split()) == (0, ["id,score", "r1,1.75"]), result.stderr
    monkeypatch.setenv("SFS_KEY_PASSWORD", PASSWORD)
    load = ("--ids", "r{0..2}", "--seconds", "0.1", "--warm-up", "0", "--slices", "1", "--callers", "2", "--json", "-")
    result = sfs_here("bench", url, *NAMED, *trust, *own, *load)
    assert result.returncode == 0, result.stdout + result.stderr
    (figures,) = json.loads(result.stdout)
    assert figures["right"] == figures["requests"] > 0
    result = sfs_here("bench", url, *NAMED, *own, *load)
    assert result.returncode == 1
    assert any("certificate verify failed" in problem for problem in json.loads(result.stdout)[0]["problems"])
    result = sfs_here("predict", url, *NAMED, *trust, "r1")
    assert (result.returncode, result.stdout) == (1, "")
    assert "--certificate-file" in result.stderr


@pytest.mark.parametrize("party", PARTIES)
def test_the_verbs_with_a_config(
    servers: ServersHere, files: ClusterFiles, certificates: Certificates, party: str
) -> None:
    trust = ("--ca-file", certificates.ca_file) if party == "bob" else ()  # its config names no authority
    result = sfs_here("predict", files.paths[party], *trust, "r2")
    assert (result.returncode, result.stdout.split()) == (0, ["id,score", "r2,2.75"]), result.stderr


def test_options_that_would_do_nothing(certificates: Certificates) -> None:
    result = sfs_here("predict", "http://127.0.0.1:1", *NAMED, "--ca-file", certificates.ca_file, "r1")
    assert result.returncode == 2
    assert "not asked over TLS" in result.stderr


@pytest.mark.parametrize("name", ["", "X Tenant", "X-Tenant\r\nX-API-Key", "X-Ünicode"])
def test_names_that_headers_cannot_have_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="a header's name"):
        Client("https://10.0.0.1:9", headers={name: "blue"})


def test_the_verbs_send_no_credentials_in_the_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("canary-key\n")
    key = ("--api-key-file", tmp_path / "key")
    for verb, more in (("predict", ("r1",)), ("bench", ("--ids", "r1"))):
        result = sfs_here(verb, "http://192.0.2.1:9", *NAMED, *key, *more)
        assert result.returncode == 1
        assert "X-API-Key would go to 192.0.2.1:9 in the clear" in result.stderr
        assert "canary" not in result.stderr
        assert sfs_here(verb, "http://192.0.2.1:9", *NAMED, "--token-file", tmp_path / "none", *more).returncode == 1
    monkeypatch.setenv("SFS_TOKEN", "canary-token")
    result = sfs_here("predict", "http://192.0.2.1:9", *NAMED, "r1")
    assert "Authorization would go" in result.stderr
