"""What a config that is right comes to, and that printing one tells no secrets."""

from __future__ import annotations

import json

import pytest

from sfs_core.config.loader import read_config
from sfs_core.errors import ConfigError

from .conftest import NATIVE, REFERENCE, Write


def test_a_config_s_text_holds_no_options_of_components(write: Write) -> None:
    path = write(NATIVE.replace("id_column: id", "password: hunter2").replace("alice.tar.gz", "p, token: hunter2"))
    file = read_config(path)
    assert file.config.services[0].model.source.options == {"token": "hunter2"}
    assert "name='csv'" in repr(file)
    assert "path='p'" in repr(file)
    for text in (repr(file), str(file.config.services[0].features)):
        assert "hunter2" not in text


def test_the_reference_s_largest_numbers_are_taken(write: Write) -> None:
    largest = (1 << 31) - 1
    document = json.loads(REFERENCE)
    document["clusterConf"]["channelDesc"] = {
        "rpcTimeoutMs": largest,
        "handshakeMaxRetryCnt": largest,
        "retryPolicyConfig": {"maxRetryCount": largest, "fixedBackoffConfig": {"intervalMs": largest}},
    }
    link = read_config(write(json.dumps(document))).config.link
    assert link.timeout == link.retry.interval == largest / 1000
    assert link.handshake_attempts == link.retry.retries == largest


def test_placeholders_without_quotes_inside_braces(write: Write) -> None:
    with pytest.raises(ConfigError, match="placeholders need quotes") as caught:
        read_config(write(NATIVE.replace("9010", "${env:PORT}")))
    assert caught.value.where.endswith(":3")
