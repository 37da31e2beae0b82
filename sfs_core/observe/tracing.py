"""Spans: what was done for a request, where, and how long it took. Uses OpenTelemetry, the extra `tracing`.

Only imported when a config asks for traces: without it requests make no objects here, and only pass on the trace that
they came with. Names, kinds and attributes are the reference's; so is the file's form, one OTLP `ResourceSpans` in
JSON per line and batch.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from sfs_core import __version__
from sfs_core.errors import ConfigError, ErrorCode
from sfs_core.observe.logs import RotatingFile
from sfs_core.observe.trace_context import TraceContext
from sfs_core.observe.worker import own_file

try:
    from google.protobuf.json_format import MessageToJson
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
except ImportError as missing:
    raise ConfigError(
        f"traces need OpenTelemetry, which is not installed ({missing.name})",
        hint="pip install 'sfs-core[tracing]'",
    ) from None

if TYPE_CHECKING:
    from sfs_core.config.telemetry import Tracing

__all__ = ["Span", "Tracer"]

SCOPE: Final = "services"
SERVICE_NAME: Final = "Secretflow Serving"
"""Both as the reference has them, so that dashboards made for it find these spans."""

Kind = Literal["server", "client"]


class Span:
    """A step under way; ended once."""

    __slots__ = ("_span", "context")

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        own = span.get_span_context()
        self.context = TraceContext(f"{own.trace_id:032x}", f"{own.span_id:016x}", own.trace_flags.sampled)

    def end(self, code: int = ErrorCode.OK, message: str = "") -> None:
        """The step is over, with an error unless the code is OK; `message` is one that other parties may read."""
        if code == ErrorCode.OK:
            self._span.set_status(trace.StatusCode.OK)
        else:
            self._span.set_status(trace.StatusCode.ERROR, f"code: {int(code)}, msg: {message}")
        self._span.end()


class Tracer:
    """Makes spans and exports them as a config says.

    Args:
        party: this party.
        settings: where spans go, and how many.

    Raises:
        ConfigError: the file cannot be written.
    """

    def __init__(self, party: str, settings: Tracing) -> None:
        self._party = party
        resource = Resource.create(
            {"service.name": SERVICE_NAME, "service.version": __version__, "rpc.system": "brpc", "party.id": party}
        )
        self._provider = TracerProvider(resource=resource, sampler=ParentBased(TraceIdRatioBased(settings.sample)))
        for exporter in _exporters(settings):
            self._provider.add_span_processor(
                BatchSpanProcessor(exporter, schedule_delay_millis=settings.interval * 1000)
            )
        self._tracer = self._provider.get_tracer(SCOPE)

    def start(
        self, name: str, kind: Kind, service: str, parent: TraceContext | None, attributes: Mapping[str, str | int]
    ) -> Span:
        """A step that begins now.

        Args:
            name: as the reference names it.
            kind: whether this process is asked or asks.
            service: the model service concerned.
            parent: where it belongs; None begins a trace.
            attributes: by OpenTelemetry's names; neither ids nor features.
        """
        information = json.dumps({"modelServiceId": service, "partyId": self._party}, separators=(",", ":"))
        return Span(
            self._tracer.start_span(
                name,
                trace.set_span_in_context(trace.NonRecordingSpan(_otel_context(parent))) if parent else None,
                trace.SpanKind.SERVER if kind == "server" else trace.SpanKind.CLIENT,
                {"span_info": information, **attributes},
            )
        )

    def close(self) -> None:
        """Export what is left; blocks."""
        self._provider.shutdown()


def _otel_context(context: TraceContext) -> trace.SpanContext:
    # A trace that came without a verdict is recorded, as one that begins here would be.
    flags = trace.TraceFlags(0 if context.sampled is False else trace.TraceFlags.SAMPLED)
    return trace.SpanContext(
        int(context.trace_id, 16), int(context.span_id or context.trace_id[-16:], 16), is_remote=True, trace_flags=flags
    )


def _exporters(settings: Tracing) -> list[SpanExporter]:
    exporters: list[SpanExporter] = []
    if settings.file is not None:
        exporters.append(_File(own_file(settings.file), settings.max_file_bytes, settings.max_files))
    if settings.endpoint is not None:
        # Imported here: it brings an HTTP client along.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
        exporters.append(OTLPSpanExporter(endpoint=settings.endpoint, headers=headers))
    return exporters


class _File(SpanExporter):
    """The reference's trace file."""

    def __init__(self, path: Path, max_bytes: int, files: int) -> None:
        self._file = RotatingFile(path, max_bytes, files)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        for resource_spans in encode_spans(spans).resource_spans:
            text = MessageToJson(resource_spans, indent=None)
            self._file.handle(logging.LogRecord("", logging.INFO, "", 0, text, None, None))
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self._file.close()
