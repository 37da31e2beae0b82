"""Coroutines that run without a task."""

from __future__ import annotations

import asyncio

import pytest

from sfs_core.engine.coroutines import TasklessRun, in_time


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

    TasklessRun(outer())
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

    TasklessRun(waits())
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
        TasklessRun(fails(wait=False))
    TasklessRun(fails(wait=True))
    future.set_result(None)
    assert isinstance(await told, ValueError)


@pytest.mark.parametrize("already", [False, True], ids=["waiting", "about to go on"])
async def test_a_run_is_cancelled_where_it_waits(already: bool):
    future = asyncio.Future[None]()
    problems = []
    seen = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))

    async def waits() -> None:
        try:
            await future
            seen.append("went on")
        except asyncio.CancelledError:
            seen.append("cancelled")
            await asyncio.sleep(0)
            seen.append("tidied up")
            raise

    run = TasklessRun(waits())
    if already:
        future.set_result(None)
    run.cancel()
    for _ in range(4):
        await asyncio.sleep(0)
    assert seen == ["cancelled", "tidied up"]
    run.cancel()  # it is over
    assert not problems
    assert future.cancelled() is not already


async def test_what_is_not_there_in_time_is_cancelled():
    future = asyncio.Future[int]()
    now = asyncio.get_running_loop().time()
    with pytest.raises(ValueError, match="late"):
        await in_time(future, now + 0.01, ValueError("late"))
    assert future.cancelled()
    there = asyncio.Future[int]()
    there.set_result(3)
    assert await in_time(there, now + 60, ValueError("late")) == 3
    own = asyncio.Future[int]()
    own.set_exception(TimeoutError("the source's own"))
    with pytest.raises(TimeoutError, match="own"):
        await in_time(own, now + 60, ValueError("late"))
