"""Protobuf's own JSON: what the C++ library reads is read, what it refuses is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from sfs_core.codec.protobuf_json import ProtobufJsonError, read_protobuf_json
from sfs_core.proto import compute_pb2, op_pb2, serving_pb2


def graph(text: str) -> serving_pb2.GraphDef:
    return read_protobuf_json(text.encode(), serving_pb2.GraphDef())


def value(name: str, text: str) -> Any:
    """A value of each kind, as a graph's attributes have them."""
    return getattr(read_protobuf_json(f'{{"{name}": {text}}}'.encode(), op_pb2.AttrValue()), name)


def number(text: str) -> int:
    return graph(f'{{"party_num": {text}}}').party_num


@pytest.mark.parametrize("text", ["2", '"2"', "2.0", "2e0", "20e-1", '"+2"', "-0.0", "null"])
def test_spellings_of_an_integer(text: str) -> None:
    assert number(text) == (0 if text in ("-0.0", "null") else 2)


@pytest.mark.parametrize(
    "text",
    ['"2.0"', '"2e0"', '" 2"', "2147483648", "-2147483649", "true", "1.5", '"x"', '""', "[2]", "{}", "1e400", '"NaN"'],
)
def test_what_is_no_integer(text: str) -> None:
    with pytest.raises(ProtobufJsonError, match="party_num: an integer from -2147483648 to 2147483647 is expected"):
        number(text)


def test_wide_integers() -> None:
    for text in ("9223372036854775807", '"9223372036854775807"', "9007199254740993"):
        assert value("i64", text) == int(text.strip('"'))
    for text in ("9223372036854775808", '"9223372036854775808"', "9223372036854775807.0", '"1e3"'):
        with pytest.raises(ProtobufJsonError, match="i64: an integer"):
            value("i64", text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1.0),
        ('"1.5"', 1.5),
        ('" 1 "', 1.0),
        ('"+1E+5"', 1e5),
        ('"inf"', math.inf),
        ('"-Infinity"', -math.inf),
        ('"1e400"', math.inf),
        ("1e-400", 0.0),
        ('"nan"', math.nan),
        ('"-NaN"', math.nan),
        ("1" + "0" * 300, 1e300),
    ],
)
def test_spellings_of_a_double(text: str, expected: float) -> None:
    assert value("d", text) == pytest.approx(expected, rel=0, nan_ok=True)


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "-Infinity",
        "1e400",
        "1" + "0" * 400,
        "true",
        '""',
        '"1_0"',
        '"\uff11"',
        '"1d"',
        '"1,5"',
        "[]",
        "01",
        ".5",
    ],
)
def test_what_is_no_double(text: str) -> None:
    with pytest.raises(ProtobufJsonError):
        value("d", text)


def test_a_float_holds_less_than_a_double() -> None:
    assert value("f", "3.4028235e38") == pytest.approx(3.4028235e38)
    assert value("f", '"Infinity"') == math.inf
    for text in ("3.5e38", '"-1e39"'):
        with pytest.raises(ProtobufJsonError, match="f: a number is expected that a float can hold"):
            value("f", text)


def test_booleans_may_be_quoted() -> None:
    assert [value("b", text) for text in ("true", '"true"', '"True"', '"t"', '"1"')] == [True] * 5
    assert [value("b", text) for text in ("false", '"false"', '"NO"', '"0"')] == [False] * 4
    for text in ("1", "0", '""', '"on"', "{}"):
        with pytest.raises(ProtobufJsonError, match="b: true or false"):
            value("b", text)


def test_enums_by_name_and_number() -> None:
    def dispatch(text: str) -> int:
        return (
            graph(f'{{"execution_list": [{{"config": {{"dispatch_type": {text}}}}}]}}')
            .execution_list[0]
            .config.dispatch_type
        )

    assert [dispatch(text) for text in ('"DP_PEER"', "12", '"12"', "12.0", "99", "null")] == [12, 12, 12, 12, 99, 0]
    for text in ('"dp_peer"', '"PEER"', '""', "true", "4294967297", "1.5"):
        with pytest.raises(
            ProtobufJsonError, match=r"execution_list\[0\].config.dispatch_type: one of UNKNOWN_DP_TYPE, "
        ):
            dispatch(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-_-_", b"\xfb\xff\xbf"),
        ("+/+/", b"\xfb\xff\xbf"),
        ("+/-_", b"\xfb\xff\xbf"),
        ("", b""),
        ("AA==", b"\0"),
        ("AA", b"\0"),
        ("AB", b"\0"),
        ("AAA=", b"\0\0"),
        ("AAA", b"\0\0"),
    ],
)
def test_spellings_of_bytes(text: str, expected: bytes) -> None:
    assert value("by", f'"{text}"') == expected


@pytest.mark.parametrize(
    "text", ["A", "AA=", "AAAAA", "AAA==", "AAAA=", "====", "AA==AA==", "AA A", " AAAA", r"AAAA\n", "*AAA", "éAAA"]
)
def test_what_is_no_base64(text: str) -> None:
    with pytest.raises(ProtobufJsonError, match="by: base64 is expected"):
        value("by", f'"{text}"')


@pytest.mark.parametrize(
    "text",
    [
        '{"version": "v", "node_list": [{"name": "a\'b"}]}',
        '\ufeff\n{"version": "v", "nodeList": [{"name": "a\'b"}]}\r\n',
        '{"version": "v", "node_list": [{"name": "a\'b",},],}',
        "{'version': 'v', 'node_list': [{'name': 'a\\'b'}]}",
        "{version: \"v\", node_list : [{name: 'a\\u0027b', }]}",
        '{"node_list": {"name": "a\'b"}, "version": "x", "version": "v", "he_config": null, "party_num": null}',
    ],
)
def test_spellings_of_a_message(text: str) -> None:
    expected = serving_pb2.GraphDef(version="v")
    expected.node_list.add(name="a'b")
    assert graph(text) == expected


def test_texts_are_taken_as_they_are() -> None:
    assert value("s", '"a\tb\n\\"c\\u0000\\ud83d\\ude00\\/"') == 'a\tb\n"c\0\N{GRINNING FACE}/'
    assert value("s", "'a\"b\\\\'") == 'a"b\\'
    assert value("s", "\"{x: 'y',}\",") == "{x: 'y',}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "^an object is expected"),
        ("null", "^an object is expected"),
        ('{"foo": null}', "^there is no field 'foo'"),
        ('{"PartyNum": 1}', "^there is no field 'PartyNum'"),
        ('{"node_list": [{"name": 5}]}', r"^node_list\[0\].name: a text is expected"),
        ('{"node_list": [null]}', r"^node_list\[0\]: null stands in a list"),
        ('{"node_list": [[]]}', r"^node_list\[0\]: an object is expected"),
        ('{"node_list": {"attr_values": []}}', r"^node_list\[0\].attr_values: an object is expected"),
        (
            '{"node_list": {"attr_values": {"w": {"s": "a", "s": "b"}}}}',
            r"attr_values\[w\].s: value has several values",
        ),
        ('{"node_list": {"attr_values": {"w": {}, "w": null}}}', r"attr_values\[w\]: it is given twice"),
        ('{"version": "\\ud83d"}', "^version: half of a surrogate pair"),
        ("{", "line 1, column 2, offset 1"),
        ("", "line 1, column 1, offset 0"),
        ('{"version": "v"} x', "line 1, column 18, offset 17"),
        ('{"version": "v",,}', "line 1, column 17, offset 16"),
        ('{, "version": "v"}', "line 1, column 2, offset 1"),
        ('{"version": v}', "line 1, column 13, offset 12"),
        ('{"version": "v" /* c */}', "line 1, column 17, offset 16"),
        ('{"version": "\\x41"}', "line 1, column 14, offset 13"),
        ('{"party_num": 1' + "0" * 5000 + "}", "a number is too long"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_message(text: str, message: str) -> None:
    with pytest.raises(ProtobufJsonError, match=message):
        graph(text)


def test_other_encodings() -> None:
    with pytest.raises(ProtobufJsonError, match="UTF-8 is expected"):
        read_protobuf_json('{"version": "é"}'.encode("latin-1"), serving_pb2.GraphDef())


_SCALARS = st.one_of(
    st.builds(compute_pb2.Scalar, i64=st.integers(-(1 << 63), (1 << 63) - 1)),
    st.builds(compute_pb2.Scalar, ui64=st.integers(0, (1 << 64) - 1)),
    st.builds(compute_pb2.Scalar, i8=st.integers(-128, 127)),
    st.builds(compute_pb2.Scalar, f=st.floats(width=32, allow_nan=False)),
    st.builds(compute_pb2.Scalar, d=st.floats(allow_nan=False)),
    st.builds(compute_pb2.Scalar, s=st.text(st.characters(exclude_categories=["Cs"]))),
    st.builds(compute_pb2.Scalar, b=st.booleans()),
)
_TRACES = st.builds(
    compute_pb2.ComputeTrace,
    name=st.text(st.characters(exclude_categories=["Cs"])),
    func_traces=st.lists(
        st.builds(
            compute_pb2.FunctionTrace,
            name=st.text(st.characters(exclude_categories=["Cs"])),
            option_bytes=st.binary(),
            inputs=st.lists(st.builds(compute_pb2.FunctionInput, custom_scalar=_SCALARS), max_size=3),
        ),
        max_size=3,
    ),
)


@given(_TRACES, st.booleans(), st.booleans())
def test_what_protobuf_prints_is_read(trace: compute_pb2.ComputeTrace, snake_case: bool, is_lenient: bool) -> None:
    text = json_format.MessageToJson(trace, preserving_proto_field_name=snake_case, indent=None)
    if is_lenient:
        text = text[:-1] + ("," * (text != "{}")) + " }"
    assert read_protobuf_json(text.encode(), compute_pb2.ComputeTrace()) == trace


@given(st.text(alphabet="{}[]:,'\"\\ab1 \n", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for document in (text, json.dumps(text), "{" + text + "}"):
        try:
            graph(document)
        except ProtobufJsonError:
            continue
