"""Commands to a server whose models change while they are carried out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sfs_core.errors import ErrorCode, RequestError
from sfs_core.server.desired import Desired, Package
from sfs_core.server.manager import Manager
from sfs_core.server.orders import Order, Outcome, ServiceStatus, VersionStatus

FIRST, SECOND, THIRD = (VersionStatus(id_, "model", agreed=True, package=Package(id_)) for id_ in ("1", "2", "3"))


class Process:
    """Tells one status after the other, and notes the orders."""

    is_up = True

    def __init__(self, *statuses: ServiceStatus) -> None:
        self.statuses = list(statuses)
        self.orders: list[str] = []

    async def carry_out(self, order: Order) -> Outcome:
        self.orders.append(order.do)
        return Outcome(services=[self.statuses.pop(0)]) if order.do == "status" else Outcome()


async def test_a_version_that_is_dropped_while_it_is_gone_back_to() -> None:
    """All parties agreed on the third meanwhile: callers get that, and the one before is the second."""
    process = Process(
        ServiceStatus("linear", serving=SECOND, previous=FIRST, waiting=THIRD),
        ServiceStatus("linear", serving=THIRD, previous=SECOND),
    )
    loaded: Any = SimpleNamespace(services=[])
    manager = Manager(loaded, Desired(), None, [process])  # type: ignore[list-item]
    with pytest.raises(RequestError, match="no such version any more") as caught:
        await manager.roll_back("linear")
    assert caught.value.code == ErrorCode.NOT_FOUND
    assert (manager.desired, process.orders) == (Desired(), ["status", "status"])
