from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sfs_core import (
    AuthenticationError,
    Authenticator,
    AuthenticatorContext,
    Caller,
    Credentials,
    PluginConfig,
    PluginError,
)
from sfs_core.config.callers import Callers
from sfs_core.link.refusal import RefusalError
from sfs_core.link.rpc import CallInfo, Encoding, RpcCode
from sfs_core.observe.audit import AuditLog
from sfs_core.server.gate import DAY, Gate


class Names(Authenticator):
    """Believes what the header `name` says."""

    def authenticate(self, credentials: Credentials) -> Caller | None:
        name = credentials.headers.get("name")
        if name == "nobody":
            raise AuthenticationError("nobody is nobody")
        return Caller(name) if name else None


def gate(audit: AuditLog | None = None, clock: Any = lambda: 0.0, **limits: Any) -> Gate:
    settings = Callers.model_validate({"authenticators": [{"name": "names"}], "limits": limits})
    return Gate([Names(PluginConfig(), AuthenticatorContext("alice", None, Path()))], settings, audit, clock)  # type: ignore[arg-type]


def info(name: str = "shop") -> CallInfo:
    return CallInfo(Encoding.JSON, "http", "", {"name": name})


def refused(function: Any, *arguments: Any) -> RefusalError:
    with pytest.raises(RefusalError) as caught:
        function(*arguments)
    return caught.value


def test_who_is_not_known_is_refused() -> None:
    assert refused(gate().admit, info("")).code is RpcCode.AUTHENTICATION
    assert refused(gate().admit, info("nobody")).text == "nobody is nobody"


def test_an_authenticator_that_returns_no_caller_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Names, "authenticate", lambda self, credentials: credentials.headers["name"])
    with pytest.raises(PluginError, match=r"Names\.authenticate returned str, not a Caller or None"):
        gate().admit(info("shop"))


def test_requests_under_way_are_counted_by_caller() -> None:
    door = gate(concurrency=2)
    first, _ = door.admit(info()), door.admit(info())
    assert refused(door.admit, info()).code is RpcCode.QUOTA
    door.admit(info("bank"))
    first.over("svc", 1, 1, "", [])
    door.admit(info())
    assert refused(door.admit, info()).code is RpcCode.QUOTA


def test_a_burst_of_two_seconds_is_let_in() -> None:
    door = gate(requests_per_second=5)
    for _ in range(10):
        door.admit(info())
    late = refused(door.admit, info())
    assert late.code is RpcCode.QUOTA
    assert late.retry_after == pytest.approx(0.2, abs=0.05)


def test_rows_are_counted_by_day() -> None:
    now = [10 * DAY + 5.0]
    door = gate(clock=lambda: now[0], rows_per_day=10)
    door.admit(info()).ask("svc", 8)
    late = refused(door.admit(info()).ask, "svc", 3)
    assert (late.code, late.retry_after) == (RpcCode.QUOTA, DAY - 5)
    door.admit(info()).ask("svc", 2)
    now[0] += DAY
    door.admit(info()).ask("svc", 10)


def test_each_of_several_workers_gives_its_part_of_the_rows() -> None:
    settings = Callers.model_validate({"authenticators": [{"name": "names"}], "limits": {"rows_per_day": 10}})
    authenticator = Names(PluginConfig(), AuthenticatorContext("alice", None, Path()))  # type: ignore[arg-type]
    doors = [Gate([authenticator], settings, None, share=3) for _ in range(3)]
    for door in doors:
        door.admit(info()).ask("svc", 3)
        refused(door.admit(info()).ask, "svc", 1)


def test_callers_wait_until_requests_can_be_written_down_again(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit.jsonl", "key", 1 << 20)
    door = gate(audit)
    audit.failed = True
    audit.try_again = lambda: False  # type: ignore[method-assign]
    late = refused(door.admit, info())
    assert (late.code, late.retry_after) == (RpcCode.LIMIT, 5.0)
    audit.try_again = lambda: True  # type: ignore[method-assign]
    door.admit(info())
    door.close()
    door.close()
