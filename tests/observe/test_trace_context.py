from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfs_core.observe.trace_context import TraceContext, adopt_trace, ensure_trace, new_trace, trace_of

TRACE = "463ac35c9f6413ad48485a3953bb6124"
SPAN = "0020000000000001"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"X-B3-TraceId": TRACE, "X-B3-SpanId": SPAN, "X-B3-Sampled": "1"}, TraceContext(TRACE, SPAN, True)),
        ({"x-b3-traceid": TRACE.upper(), "x-b3-spanid": SPAN, "x-b3-sampled": "0"}, TraceContext(TRACE, SPAN, False)),
        ({"X-B3-TraceId": TRACE[16:]}, TraceContext("0" * 16 + TRACE[16:], "", None)),
        ({"b3": f"{TRACE}-{SPAN}-1"}, TraceContext(TRACE, SPAN, True)),
        ({"b3": f"{TRACE}-{SPAN}"}, TraceContext(TRACE, SPAN, None)),
        ({"b3": f"{TRACE}-{SPAN}-d-{SPAN}"}, TraceContext(TRACE, SPAN, True)),
        ({"traceparent": f"00-{TRACE}-{SPAN}-01"}, TraceContext(TRACE, SPAN, True)),
        ({"traceparent": f"cc-{TRACE}-{SPAN}-00-more"}, TraceContext(TRACE, SPAN, False)),
        ({"traceparent": f"00-{TRACE}-{SPAN}-01", "b3": f"{TRACE}-{SPAN}-0"}, TraceContext(TRACE, SPAN, False)),
        ({"other": "value"}, None),
        ({"X-B3-TraceId": "0" * 32, "X-B3-SpanId": SPAN}, None),
        ({"X-B3-TraceId": f"{TRACE}0"}, None),
        ({"X-B3-TraceId": "id of a person"}, None),
        ({"X-B3-SpanId": SPAN}, None),
        ({"b3": "0"}, None),
        ({"traceparent": f"ff-{TRACE}-{SPAN}-01"}, None),
    ],
)
def test_headers(headers: dict[str, str], expected: TraceContext | None) -> None:
    assert trace_of(headers) == expected
    assert trace_of({}, headers) == expected


def test_the_first_carrier_that_says_anything_counts() -> None:
    other = {"X-B3-TraceId": "1", "X-B3-SpanId": SPAN}
    assert trace_of({"accept": "*/*"}, {"b3": f"{TRACE}-{SPAN}"}, other) == TraceContext(TRACE, SPAN)


contexts = st.builds(
    TraceContext,
    st.integers(1, 2**128 - 1).map("{:032x}".format),
    st.integers(1, 2**64 - 1).map("{:016x}".format),
    st.booleans(),
)


@given(contexts)
def test_what_is_written_is_read(context: TraceContext) -> None:
    assert trace_of(context.b3_headers()) == context
    assert trace_of({"traceparent": context.traceparent()}) == context


def test_a_new_trace_is_sampled_by_whom_it_reaches() -> None:
    trace = new_trace()
    there = trace_of(trace.b3_headers())
    assert there is not None
    assert (there.trace_id, there.sampled) == (trace.trace_id, True)
    assert len(there.span_id) == 16
    assert new_trace() != trace


@given(
    st.dictionaries(st.sampled_from(["b3", "X-B3-TraceId", "X-B3-SpanId", "X-B3-Sampled", "traceparent"]), st.text())
)
def test_nothing_breaks_on_any_text(headers: dict[str, str]) -> None:
    context = trace_of(headers)
    assert context is None or trace_of(context.b3_headers()) is not None


def test_http_headers_win_over_the_message_s_map() -> None:
    entries = {"tenant": "1", "x-b3-traceid": "1" * 32, "X-B3-ParentSpanId": SPAN, "b3": "0"}
    adopt_trace(entries, {"traceparent": f"00-{TRACE}-{SPAN}-00", "accept": "*/*"})
    assert entries == {"tenant": "1", "X-B3-TraceId": TRACE, "X-B3-SpanId": SPAN, "X-B3-Sampled": "0"}
    adopt_trace(entries, {"accept": "*/*"})
    adopt_trace(entries, {"b3": "no trace"})
    assert entries["X-B3-TraceId"] == TRACE


def test_every_request_gets_a_trace() -> None:
    entries: dict[str, str] = {}
    made = ensure_trace(entries)
    before = dict(entries)
    assert ensure_trace(entries) == made
    assert entries == before
    odd = {"b3": f"{TRACE}-{SPAN}"}
    assert ensure_trace(odd) == TRACE
    assert odd == {"X-B3-TraceId": TRACE, "X-B3-SpanId": SPAN, "X-B3-Sampled": "1"}
    assert ensure_trace({"X-B3-TraceId": "a person's name, 32 chars long.."}) not in (
        "",
        "a person's name, 32 chars long..",
    )
