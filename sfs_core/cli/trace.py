"""`sfs trace`: draw what happened for a request, at all parties whose trace files are at hand."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import click

from sfs_core.cli.tables import print_table
from sfs_core.errors import ErrorCode, RequestError
from sfs_core.observe.trace_file import RecordedSpan, read_spans, span_tree

__all__ = ["command"]

WIDTH: Final = 40
"""Characters that the whole time of a request takes."""


@click.command("trace", short_help="Draw what happened for a request, from trace files.")
@click.argument("request_id", metavar="REQUEST-ID")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def command(request_id: str, files: tuple[Path, ...]) -> None:
    """Draw the steps of a request at all parties whose trace FILES are given.

    REQUEST-ID is the 32 hex digits at the beginning of an error message, in a log line, or the trace id that a
    request was sent with. Times are by each party's own clock.
    """
    if not re.fullmatch(r"[0-9a-fA-F]{1,32}", request_id):
        raise RequestError("a request id has up to 32 hex digits", where="REQUEST-ID")
    spans = read_spans(files, request_id.lower().zfill(32))
    if not spans:
        raise RequestError(
            "no file has a step of this request",
            code=ErrorCode.NOT_FOUND,
            hint="is it recorded (tracing.sample), and are its parties' files given, the renamed ones too?",
        )
    start, end = min(span.start for span in spans), max(span.end for span in spans)
    rows = [
        (
            bar(span, start, end),
            f"{(span.end - span.start) / 1e6:.3f}",
            span.party,
            "  " * depth + span.name,
            span.error,
        )
        for depth, span in _walk(span_tree(spans))
    ]
    print_table(("", "ms", "party", "step", "error"), rows)


def _walk(spans: Sequence[RecordedSpan], depth: int = 0) -> Iterator[tuple[int, RecordedSpan]]:
    for span in spans:
        yield depth, span
        yield from _walk(span.children, depth + 1)


def bar(span: RecordedSpan, start: int, end: int) -> str:
    """The span's place between the beginning and the end of the whole request."""
    scale = WIDTH / max(end - start, 1)
    left = min(int((span.start - start) * scale), WIDTH - 1)
    right = max(left + 1, round((span.end - start) * scale))
    return "·" * left + "█" * (right - left) + "·" * (WIDTH - right)
