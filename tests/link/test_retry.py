"""When a call is tried again, and how long that waits; texts and addresses of other parties."""

from __future__ import annotations

import pytest

from sfs_core.config.address import Address, parse_address
from sfs_core.errors import ConfigError
from sfs_core.link.retry import FailureKind, RetryPolicy, exponential_backoff, fixed_backoff, random_backoff
from sfs_core.link.text import short_text


@pytest.mark.parametrize(
    ("policy", "again"),
    [
        (RetryPolicy(), {FailureKind.NOT_RUN}),
        (RetryPolicy(unavailable=True), {FailureKind.NOT_RUN, FailureKind.UNAVAILABLE}),
        (RetryPolicy(anything=True), {FailureKind.NOT_RUN, FailureKind.UNAVAILABLE, FailureKind.OTHER}),
        (RetryPolicy(retries=0, anything=True), set()),
    ],
)
def test_what_is_tried_again(policy, again):
    assert {kind for kind in FailureKind if policy.wait_before(1, kind) is not None} == again
    assert policy.wait_before(policy.retries + 1, FailureKind.NOT_RUN) is None


def test_waits():
    assert [fixed_backoff(0.5)(retry) for retry in (1, 2, 9)] == [0.5, 0.5, 0.5]
    assert [exponential_backoff(0.01, 2)(retry) for retry in (1, 2, 3)] == [0.01, 0.02, 0.04]
    assert exponential_backoff(0.01, 10)(5000) == 60
    waits = [random_backoff(0.1, 0.3)(1) for _ in range(100)]
    assert 0.1 <= min(waits) < max(waits) <= 0.3


@pytest.mark.parametrize(
    "make",
    [
        lambda: RetryPolicy(retries=-1),
        lambda: fixed_backoff(-1),
        lambda: exponential_backoff(-1, 2),
        lambda: exponential_backoff(1, 0.5),
        lambda: random_backoff(2, 1),
    ],
)
def test_nonsense_is_refused(make):
    with pytest.raises(ConfigError):
        make()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("bob:9110", Address("bob", 9110, "bob:9110")),
        ("http://10.0.0.2:9110/", Address("10.0.0.2", 9110, "10.0.0.2:9110", "http")),
        ("[::1]:9110", Address("::1", 9110, "[::1]:9110")),
        ("http://bob.svc", Address("bob.svc", 80, "bob.svc", "http")),
        ("HTTPS://bob.svc", Address("bob.svc", 443, "bob.svc", "https")),
    ],
)
def test_addresses(text, address):
    assert parse_address("bob", text) == address


def test_texts_of_others_are_one_short_printable_line():
    assert short_text("a\r\n\x1b[31mb\0  c") == "a [31mb c"
    assert len(short_text("x" * 10_000)) < 510
