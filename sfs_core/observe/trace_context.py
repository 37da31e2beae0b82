"""Which trace a request belongs to, as headers say it: B3 (one header or several) and W3C trace context.

B3: https://github.com/openzipkin/b3-propagation; W3C: https://www.w3.org/TR/trace-context/. Parties of the reference
read and write the several B3 headers, in the header map of the messages and, over HTTP, as HTTP headers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from random import getrandbits
from typing import Final

__all__ = ["TRACE_HEADERS", "TraceContext", "adopt_trace", "ensure_trace", "new_span_id", "new_trace", "trace_of"]

TRACE_HEADERS: Final = frozenset(
    {"b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "traceparent"}
)
"""Lower-case names of the headers that are read."""

_ENTRIES: Final = frozenset({"b3", "x-b3-traceid", "traceparent"})
"""One of these is there where a trace is."""
_TRACE_ID: Final = re.compile(r"[0-9a-f]{1,32}")
_SPAN_ID: Final = re.compile(r"[0-9a-f]{16}")
_B3: Final = re.compile(r"([0-9a-f]{1,32})-([0-9a-f]{16})(?:-([01d]))?(?:-[0-9a-f]{16})?")
_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A place in a trace.

    Args:
        trace_id: 32 hex digits; the request id that errors and log lines give.
        span_id: 16 hex digits: the step that asks; empty where only the trace is known.
        sampled: whether its steps are to be recorded; None to decide here.
    """

    trace_id: str
    span_id: str = ""
    sampled: bool | None = None

    def b3_headers(self) -> dict[str, str]:
        """The several B3 headers."""
        return {
            "X-B3-TraceId": self.trace_id,
            "X-B3-SpanId": self.span_id or new_span_id(),
            "X-B3-Sampled": "0" if self.sampled is False else "1",
        }

    def traceparent(self) -> str:
        """The W3C header."""
        return f"00-{self.trace_id}-{self.span_id or new_span_id()}-{'00' if self.sampled is False else '01'}"


def new_trace() -> TraceContext:
    """The beginning of a trace."""
    return TraceContext(f"{getrandbits(128):032x}")


def new_span_id() -> str:
    """Sixteen random hex digits."""
    return f"{getrandbits(64):016x}"


def trace_of(*carriers: Mapping[str, str]) -> TraceContext | None:
    """What the first carrier that says anything says; None where none does, or nothing that can be read.

    Args:
        carriers: header names, in any case, and values.
    """
    for carrier in carriers:
        if carrier:
            headers = {
                name.lower(): value.strip().lower() for name, value in carrier.items() if name.lower() in TRACE_HEADERS
            }
            context = _single_b3(headers) or _several_b3(headers) or _w3c(headers) if headers else None
            if context is not None:
                return context
    return None


def _single_b3(headers: Mapping[str, str]) -> TraceContext | None:
    match = _B3.fullmatch(headers.get("b3", ""))
    return None if match is None else _context(match[1], match[2], None if match[3] is None else match[3] != "0")


def _several_b3(headers: Mapping[str, str]) -> TraceContext | None:
    trace_id, span_id = headers.get("x-b3-traceid", ""), headers.get("x-b3-spanid", "")
    if not _TRACE_ID.fullmatch(trace_id):
        return None
    sampled = headers.get("x-b3-sampled")
    return _context(
        trace_id,
        span_id if _SPAN_ID.fullmatch(span_id) else "",
        {"1": True, "true": True, "d": True, "0": False, "false": False}.get(sampled or ""),
    )


def _w3c(headers: Mapping[str, str]) -> TraceContext | None:
    match = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    return None if match is None else _context(match[1], match[2], bool(int(match[3], 16) & 1))


def _context(trace_id: str, span_id: str, sampled: bool | None) -> TraceContext | None:
    """None where the ids are all zeros, which means that there is no trace."""
    if not trace_id.strip("0"):
        return None
    return TraceContext(trace_id.zfill(32), span_id if span_id.strip("0") else "", sampled)


def adopt_trace(headers: dict[str, str], http_headers: Mapping[str, str]) -> None:
    """Write the trace that HTTP headers name, if any, over what a message's header map says.

    Args:
        headers: the map; gets the several B3 entries.
        http_headers: names in lower case.
    """
    if _ENTRIES.isdisjoint(http_headers):
        return
    context = trace_of(http_headers)
    if context is not None:
        _write(headers, context)


def ensure_trace(headers: dict[str, str]) -> str:
    """The trace id in a message's header map; a new trace is entered where there is none.

    Args:
        headers: the map; afterwards it has the several B3 entries.
    """
    if not headers:
        ids = f"{getrandbits(192):048x}"
        trace_id = headers["X-B3-TraceId"] = ids[:32]
        headers["X-B3-SpanId"], headers["X-B3-Sampled"] = ids[32:], "1"
        return trace_id
    trace_id = headers.get("X-B3-TraceId", "")
    if len(trace_id) == 32 and _TRACE_ID.fullmatch(trace_id):
        return trace_id
    context = trace_of(headers) or new_trace()
    _write(headers, context)
    return context.trace_id


def _write(headers: dict[str, str], context: TraceContext) -> None:
    for name in [name for name in headers if name.lower() in TRACE_HEADERS]:
        del headers[name]
    headers.update(context.b3_headers())
