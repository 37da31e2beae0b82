"""Header entries of requests and answers: which of them cross a border between parties."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["TRACE_ENTRIES", "crossing", "drop_own"]

TRACE_ENTRIES: Final[tuple[str, ...]] = ("X-B3-TraceId", "X-B3-SpanId", "X-B3-Sampled")
"""Names under which parties tell each other the trace of a request."""
_OWN: Final = "sfs-"
"""Begins the names of entries in which parties of this software talk to each other; nobody else speaks for them."""


def drop_own(entries: dict[str, str]) -> None:
    """Take out entries that only parties of this software may write."""
    for name in [name for name in entries if name[:4].lower() == _OWN]:
        del entries[name]


def crossing(entries: Mapping[str, str], allowed: frozenset[str] | None) -> dict[str, str]:
    """The entries that may go on: none in which parties of this software talk to each other, those for tracing, and of
    the others those that are allowed; None allows all."""
    return {
        name: value
        for name, value in entries.items()
        if name[:4].lower() != _OWN and (allowed is None or name in allowed or name in TRACE_ENTRIES)
    }
