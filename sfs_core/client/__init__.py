"""Asking servers for scores from Python.

    from sfs_core.client import Client

    with Client("http://127.0.0.1:9010", service="demo", parties=["alice", "bob"]) as client:
        print(client.predict(["17", "18"]).score)

The names load on first use, so that importing this package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sfs_core.client.client import AsyncClient
    from sfs_core.client.errors import DeadlineError, ServiceError, UnavailableError
    from sfs_core.client.results import Prediction
    from sfs_core.client.sync import Client
    from sfs_core.client.tls import Tls

__all__ = [
    "AsyncClient",
    "Client",
    "DeadlineError",
    "Prediction",
    "ServiceError",
    "Tls",
    "UnavailableError",
]

_HOMES = {
    "AsyncClient": "client",
    "Client": "sync",
    "DeadlineError": "errors",
    "Prediction": "results",
    "ServiceError": "errors",
    "Tls": "tls",
    "UnavailableError": "errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sfs_core.client' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"sfs_core.client.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
