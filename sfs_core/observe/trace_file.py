"""Reading trace files, ours and the reference's: lines of OTLP JSON with base64 ids."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from sfs_core.errors import ErrorCode, RequestError

__all__ = ["RecordedSpan", "read_spans", "span_tree"]


@dataclass(slots=True)
class RecordedSpan:
    """A step of a request, as a file tells it.

    Args:
        party: who recorded it.
        name: what was done.
        span_id, parent_id: 16 hex digits; no parent where the trace began.
        start, end: nanoseconds of Unix time, by that party's clock.
        error: `code: …, msg: …` where it failed.
        children: the steps that it asked for, in the order of their beginnings.
    """

    party: str
    name: str
    span_id: str
    parent_id: str
    start: int
    end: int
    error: str = ""
    children: list[RecordedSpan] = field(default_factory=list)


def read_spans(files: Iterable[Path], trace_id: str) -> list[RecordedSpan]:
    """The spans of one trace; lines that are no spans are passed over.

    Args:
        files: trace files of any number of parties.
        trace_id: 32 hex digits, the request id.

    Raises:
        RequestError: a file cannot be read (code 10).
    """
    wanted = base64.b64encode(bytes.fromhex(trace_id))
    spans = []
    for file in files:
        try:
            with file.open("rb") as lines:
                # Most lines are of other traces: bytes are looked for before anything is parsed.
                spans += [span for line in lines if wanted in line for span in _spans_of(line, wanted.decode(), file)]
        except OSError as error:
            raise RequestError(f"{file} cannot be read: {error.strerror}", code=ErrorCode.IO_ERROR) from None
    return list({span.span_id: span for span in spans}.values())


def _spans_of(line: bytes, trace_id: str, file: Path) -> Iterator[RecordedSpan]:
    try:
        resource_spans = orjson.loads(line)
        for scope in resource_spans.get("scopeSpans", ()):
            for span in scope.get("spans", ()):
                if span.get("traceId") == trace_id:
                    yield _span(span, file)
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError):
        return


def _span(span: dict[str, Any], file: Path) -> RecordedSpan:
    status = span.get("status", {})
    return RecordedSpan(
        _party(span) or file.parent.name,
        span["name"],
        _hex(span["spanId"]),
        _hex(span.get("parentSpanId", "")),
        int(span["startTimeUnixNano"]),
        int(span["endTimeUnixNano"]),
        status.get("message", "failed") if status.get("code") == "STATUS_CODE_ERROR" else "",
    )


def _party(span: dict[str, Any]) -> str:
    for attribute in span.get("attributes", ()):
        if attribute["key"] == "span_info":
            return str(orjson.loads(attribute["value"]["stringValue"]).get("partyId", ""))
    return ""


def _hex(id_: str) -> str:
    try:
        return base64.b64decode(id_).hex()
    except binascii.Error:
        return id_


def span_tree(spans: Sequence[RecordedSpan]) -> list[RecordedSpan]:
    """The spans whose parents are in no file, with all others below them."""
    by_id = {span.span_id: span for span in spans}
    roots: list[RecordedSpan] = []
    for span in sorted(spans, key=lambda each: each.start):
        parent = by_id.get(span.parent_id)
        (roots if parent is None or parent is span else parent.children).append(span)
    return roots
