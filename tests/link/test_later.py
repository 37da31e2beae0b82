"""Answers that come later: given once, told at once, and cancelled with those who wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import pytest

from sfs_core.link.calls import STOPPING, Calls, Failure
from sfs_core.link.later import Later
from sfs_core.link.rpc import CallInfo, Encoding

INFO = CallInfo(Encoding.JSON, "http", "", {})


def test_the_first_outcome_counts_and_is_told_at_once():
    later: Later[bytes] = Later()
    told = []
    later.tell(told.append)
    assert not later.over()
    later.give(b"")
    later.give(b"2")
    later.cancel()
    assert later.over()
    assert told == [b""]


@pytest.mark.parametrize("soon", [False, True])
def test_waiting_for_one(soon):
    async def main() -> None:
        later: Later[bytes] = Later()
        if soon:
            asyncio.get_running_loop().call_soon(later.give, b"1")
        else:
            later.give(b"1")
        assert await later.wait() == b"1"
        failed: Later[bytes] = Later()
        failed.give(KeyError("a"))
        with pytest.raises(KeyError):
            await failed.wait()

    asyncio.run(main())


def test_calls_count_and_answer_them():
    async def main() -> None:
        calls = Calls(None, max_bytes=10)
        later: Later[bytes] = Later()
        told: list[bytes | Failure] = []
        assert calls.start(lambda *_: later, b"12345678", INFO, told.append) is later
        assert calls.under_way == 1
        assert isinstance(calls.start(lambda *_: b"", b"123", INFO, told.append), Failure)
        later.give(b"answer")
        assert (told, calls.under_way) == ([b"answer"], 0)
        assert calls.start(lambda *_: later, b"123", INFO, told.append) == b"answer"

    asyncio.run(main())


def test_who_waits_in_vain_cancels_and_the_end_does():
    async def main() -> None:
        calls = Calls(None)
        abandoned, cut_off = Later[bytes](), Later[bytes]()
        waiting = asyncio.ensure_future(calls.answer(lambda *_: abandoned, b"", INFO))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert isinstance(abandoned.outcome, asyncio.CancelledError)
        told: list[bytes | Failure] = []
        calls.start(lambda *_: cut_off, b"", INFO, told.append)
        calls.start(lambda *_: asyncio.sleep(100), b"", INFO, told.append)  # type: ignore[arg-type,return-value]
        await calls.drain(0.01)
        assert told == [STOPPING, STOPPING]
        assert calls.under_way == 0

    asyncio.run(main())


def test_work_that_is_cancelled_at_once_begins_all_the_same():
    """Coroutines that it was given would never be awaited otherwise, which Python warns of."""
    ended = []

    async def given() -> bytes:
        try:
            await asyncio.sleep(100)
        finally:
            ended.append("given")
        return b""

    async def work(inner: Coroutine[None, None, bytes]) -> bytes:
        return await inner

    async def main() -> None:
        later = Later.of(work(given()))
        later.cancel()
        with pytest.raises(asyncio.CancelledError):
            await later.wait()
        assert ended == ["given"]

    asyncio.run(main())
