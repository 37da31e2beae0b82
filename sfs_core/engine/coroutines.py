"""Coroutines of the engine run without tasks: to make, register and wake one costs more than a round computes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

__all__ = ["run_without_task"]


def run_without_task(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine: until it first waits now, on from there by callbacks of the futures that it waits for.

    It must await futures only, and coroutines of the same kind: there is no current task, which timeouts and many
    libraries need. `asyncio.ensure_future` makes a future of anything else. An exception goes to the caller, or to
    the event loop's exception handler once the coroutine has waited.
    """
    _step(coroutine)


def _step(coroutine: Coroutine[Any, Any, None]) -> None:
    try:
        awaited = coroutine.send(None)
    except StopIteration:
        return
    if awaited is None:  # a bare yield: let others run
        asyncio.get_running_loop().call_soon(_step, coroutine)
        return
    awaited._asyncio_future_blocking = False  # what a task does to say that it has seen the future
    awaited.add_done_callback(lambda _: _step(coroutine))
