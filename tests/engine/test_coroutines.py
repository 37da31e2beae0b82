"""Coroutines that run without a task."""

from __future__ import annotations

import asyncio

import pytest

from sfs_core.engine.coroutines import run_without_task


async def test_runs_at_once_until_it_waits_and_then_as_its_futures_end():
    first, second = asyncio.Future[int](), asyncio.Future[int]()
    seen = []
    over = asyncio.Event()

    async def inner() -> int:
        return await second

    async def outer() -> None:
        seen.append("begun")
        seen.append(await first)
        await asyncio.sleep(0)
        try:
            await inner()
        except KeyError as error:
            seen.append(error.args[0])
        over.set()

    run_without_task(outer())
    assert seen == ["begun"]
    first.set_result(1)
    second.set_exception(KeyError("lost"))
    await over.wait()
    assert seen == ["begun", 1, "lost"]


async def test_a_cancelled_future_is_raised_where_it_is_awaited():
    future = asyncio.Future[None]()
    over = asyncio.Event()

    async def waits() -> None:
        with pytest.raises(asyncio.CancelledError):
            await future
        over.set()

    run_without_task(waits())
    future.cancel()
    await over.wait()


async def test_exceptions_go_to_the_caller_and_after_a_wait_to_the_loop():
    future = asyncio.Future[None]()
    told = asyncio.Future[BaseException]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.set_result(context["exception"]))

    async def fails(wait: bool) -> None:
        if wait:
            await future
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        run_without_task(fails(wait=False))
    run_without_task(fails(wait=True))
    future.set_result(None)
    assert isinstance(await told, ValueError)
