"""TLS of components that are clients."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from sfs_core import ConfigError, PluginContext
from sfs_core.spi import ClientTls, TlsOptions
from tests.support.certificates import Certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


def client(folder, **options):
    context = PluginContext("svc", "alice", logging.getLogger("test"), folder)
    return ClientTls("a server", TlsOptions(**options), context)


def test_paths_are_relative_and_keys_may_be_encrypted(certificates):
    certificates.files("locked", password="s3cret", party="alice")
    options = {"certificate_file": "locked.crt", "key_file": "locked.key", "ca_file": "ca.crt"}
    context = client(certificates.folder, **options, key_password="s3cret").current()
    assert context.check_hostname
    assert len(context.get_ca_certs()) == 1
    for password, place in (({}, "key_file"), ({"key_password": "0ther"}, "key_password")):
        with pytest.raises(ConfigError) as caught:
            client(certificates.folder, **options, **password)
        assert caught.value.where == place
        assert "0ther" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"ca_file: .*none\.crt cannot be read"):
        client(certificates.folder, ca_file="none.crt")


def test_files_are_followed_and_bad_ones_change_nothing(certificates, tmp_path, caplog):
    authorities = tmp_path / "ca.crt"
    authorities.write_bytes(certificates.ca_file.read_bytes())
    tls = client(tmp_path, ca_file="ca.crt")
    first = tls.current()
    assert tls.current() is first
    authorities.write_text("nothing of the kind")
    while not caplog.records:
        assert tls.current() is first
        time.sleep(0.05)
    assert "goes on with the certificates it has" in caplog.text
    authorities.write_bytes((certificates.folder / "other-ca.crt").read_bytes())
    while tls.current() is first:
        time.sleep(0.05)
    assert tls.current().get_ca_certs() != first.get_ca_certs()


@pytest.mark.parametrize("options", [{"key_file": Path("key")}, {"key_password": "s3cret"}])
def test_a_key_needs_a_certificate(options):
    with pytest.raises(ValidationError, match="need `certificate_file`") as caught:
        TlsOptions(**options)
    assert "s3cret" not in str(caught.value)
