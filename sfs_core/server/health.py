"""Pages that say how a server is: `/health` (alive) and `/ready` (answers predictions)."""

from __future__ import annotations

from collections.abc import Mapping

from sfs_core.link.rpc import Page

__all__ = ["alive", "communication_pages", "service_pages"]


def alive() -> tuple[int, str, bytes]:
    """The page `/health` of ports that the reference leaves to brpc."""
    return 200, "text/plain", b"OK"


def communication_pages(ready: Page) -> Mapping[str, Page]:
    """Pages of the communication port, `/health` worded as the reference words it there."""
    return {"/health": lambda: (200, "text/plain", b"http status code = 200"), "/ready": ready}


def service_pages(ready: Page) -> Mapping[str, Page]:
    """Pages of the service port."""
    return {"/health": alive, "/ready": ready}
