"""Streams of real files."""

from __future__ import annotations

import asyncio
import csv
import logging
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
import sfs_feature_streaming
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sfs_feature_streaming.source import StreamingConfig, StreamingFeatureSource

from sfs_core import Batch, ConfigError, ErrorCode, FeatureContext, FeatureError, FeatureQuery, Schema

NUMBERS = Schema([("x", pa.int64())])


def made(folder, schema=NUMBERS, executor=None, **options):
    context = FeatureContext("svc", "alice", logging.getLogger("test"), folder, schema, executor)
    return StreamingFeatureSource(StreamingConfig(**{"path": Path("rows.csv"), **options}), context)


def opened(folder, content, schema=NUMBERS, **options):
    (folder / "rows.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    source = made(folder, schema, **options)
    source.open()
    return source


def numbered(count):
    return "id,x\n" + "".join(f"u{i},{i}\n" for i in range(count))


def take(source, count, context=""):
    return source.fetch_rows(FeatureQuery([str(count)] * count, context)).batch


def values(batch):
    return batch.arrow(0).to_pylist()


def refused(folder, content, schema=NUMBERS, kind=FeatureError, **options):
    with pytest.raises(kind) as caught:
        opened(folder, content, schema, **options)
    assert "secret" not in f"{caught.value} {caught.value.detail}".replace(str(folder), "")
    return str(caught.value).removeprefix(f"{folder}/")


def test_declares_one_source():
    (spec,) = sfs_feature_streaming.sfs_feature_sources()
    assert (spec.name, spec.factory) == ("streaming", "sfs_feature_streaming.source:StreamingFeatureSource")


# ----------------------------------------------------------------------- next rows
@settings(deadline=None, max_examples=60)
@given(counts=st.lists(st.integers(0, 40), max_size=12), block_size=st.integers(8, 300))
def test_queries_of_any_size_get_all_rows_once_in_order(tmp_path_factory, counts, block_size):
    total = sum(counts)
    source = opened(tmp_path_factory.mktemp("f"), numbered(total), block_size=block_size)
    assert source.row_count == total
    batches = [take(source, count, str(at)) for at, count in enumerate(counts)]
    assert [batch.num_rows for batch in batches] == counts
    assert [value for batch in batches for value in values(batch)] == list(range(total))
    with pytest.raises(FeatureError):
        take(source, 1)


def test_the_end_of_the_file_takes_no_rows(tmp_path):
    source = opened(tmp_path, numbered(5))
    take(source, 3)
    with pytest.raises(FeatureError, match="3 rows are asked for, 2 are left") as caught:
        take(source, 3, "t")
    assert caught.value.code == ErrorCode.LOGIC_ERROR
    assert values(take(source, 2, "t")) == [3, 4]


def test_the_token_of_the_query_before_gives_its_rows_again(tmp_path):
    source = opened(tmp_path, numbered(6))
    first = take(source, 2, "0")
    assert values(take(source, 2, "0")) == values(first) == [0, 1]
    assert values(take(source, 2, "2")) == [2, 3]
    assert values(take(source, 2, "0")) == [4, 5], "only the previous token counts"


def test_without_a_token_every_query_advances(tmp_path):
    source = opened(tmp_path, numbered(4))
    assert [values(take(source, 2)), values(take(source, 2))] == [[0, 1], [2, 3]]


def test_a_repeated_token_with_another_number_of_rows_is_an_error(tmp_path):
    source = opened(tmp_path, numbered(6))
    take(source, 2, "0")
    with pytest.raises(FeatureError, match="2 rows, this one has 3") as caught:
        take(source, 3, "0")
    assert caught.value.code == ErrorCode.LOGIC_ERROR
    assert values(take(source, 2, "0")) == [0, 1]
    assert values(take(source, 3, "2")) == [2, 3, 4]


def test_a_failed_query_leaves_the_token_before(tmp_path):
    source = opened(tmp_path, numbered(3))
    take(source, 2, "0")
    with pytest.raises(FeatureError):
        take(source, 2, "2")
    assert values(take(source, 2, "0")) == [0, 1]
    assert values(take(source, 1, "2")) == [2]


def test_opening_again_starts_again_with_the_file_as_it_is_then(tmp_path):
    source = opened(tmp_path, numbered(3))
    take(source, 2, "0")
    (tmp_path / "rows.csv").write_text("id,x\na,7\nb,8\n")
    source.open()
    assert source.row_count == 2
    assert values(take(source, 2, "0")) == [7, 8]


def test_after_close_there_are_no_rows_and_closing_is_always_right(tmp_path):
    source = made(tmp_path)
    source.close()
    source = opened(tmp_path, numbered(3))
    take(source, 1, "0")
    source.close()
    source.close()
    with pytest.raises(FeatureError):
        take(source, 1, "0")


def test_a_file_that_goes_bad_while_it_is_read_keeps_its_good_rows(tmp_path):
    source = opened(tmp_path, numbered(100), block_size=32)
    (tmp_path / "rows.csv").write_text(numbered(10) + "u10,secret\n" + numbered(30).partition("\n")[2])
    for _ in range(2):
        with pytest.raises(FeatureError, match=r"rows\.csv:12: the value of column 'x' is no int64") as caught:
            take(source, 50, "0")
        assert "secret" not in str(caught.value)
    assert values(take(source, 5, "0")) == [0, 1, 2, 3, 4]


def test_queries_from_many_threads_share_the_rows(tmp_path):
    source = opened(tmp_path, numbered(400), block_size=64)
    with ThreadPoolExecutor(8) as pool:
        batches = list(pool.map(lambda _: values(take(source, 10)), range(40)))
    assert all(batch == list(range(batch[0], batch[0] + 10)) for batch in batches)
    assert sorted(value for batch in batches for value in batch) == list(range(400))


def test_core_calls_it_in_the_pool(tmp_path):
    (tmp_path / "rows.csv").write_text(numbered(4))
    with ThreadPoolExecutor(1) as pool:
        source = made(tmp_path, executor=pool)
        source.open()
        query = FeatureQuery(["3", "3", "3"], "0")

        async def fetch():
            return (await source.fetch(query)).batch

        assert values(asyncio.run(fetch())) == [0, 1, 2]
        assert values(asyncio.run(fetch())) == [0, 1, 2]


# ------------------------------------------------------------------------ counting
@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("id,x\n", 0),
        ("id,x", 0),
        ("\ufeffid,x\r\n\r\n", 0),
        ("id,x\na,1", 1),
        ('id,x\n"a\nb\r\nc",1\nd,2\n', 2),
        ("id,x\n\na,1\n\n\nb,2\n\n\n", 2),
        ("\ufeffid,x\r\na,1\r\nb,2\r\n\r\n", 2),
        ("id,x\ra,1\rb,2\r", 2),
        ('id,x,note\na,1,5" wide\nb,2,"5"" wide"\n', 2),
        ('id,x\n"",1\n,2\n', 2),
    ],
)
def test_rows_are_counted_as_csv_and_not_as_lines(tmp_path, content, rows):
    source = opened(tmp_path, content)
    assert source.row_count == rows
    assert values(take(source, rows)) == [1, 2][:rows]


def test_a_schema_without_columns_gives_rows_without_columns(tmp_path):
    source = opened(tmp_path, "id,t\na,\nb,text\n\nc,1\n", Schema())
    assert source.row_count == 3
    batch = take(source, 2)
    assert (batch.num_rows, len(batch.schema)) == (2, 0)
    assert batch.rows() == [(), ()]
    with pytest.raises(FeatureError, match="2 rows are asked for, 1 are left"):
        take(source, 2)


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(st.tuples(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), st.floats())),
    ending=st.sampled_from(["\n", "\r\n"]),
)
def test_any_text_comes_as_it_was_written(tmp_path_factory, rows, ending):
    folder = tmp_path_factory.mktemp("f")
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator=ending, quoting=csv.QUOTE_ALL)
        writer.writerow(["t", "x", "id"])
        writer.writerows([text, repr(number), "same"] for text, number in rows)
    source = made(folder, Schema([("x", pa.float64()), ("t", pa.utf8())]))
    source.open()
    assert source.row_count == len(rows)
    got = take(source, len(rows)).rows()
    assert [text for _, text in got] == [text for text, _ in rows]
    pairs = zip([number for number, _ in got], [number for _, number in rows], strict=True)
    assert all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in pairs)


# --------------------------------------------------------------------------- types
@pytest.mark.parametrize(
    ("type_", "texts", "expected"),
    [
        (pa.bool_(), ["true", "False", "1", "0"], [True, False, True, False]),
        (pa.int8(), ["-128", "127"], [-128, 127]),
        (pa.int16(), ["-32768"], [-32768]),
        (pa.int32(), ["-2147483648"], [-(2**31)]),
        (pa.int64(), ["-9223372036854775808"], [-(2**63)]),
        (pa.uint8(), ["255"], [255]),
        (pa.uint16(), ["65535"], [65535]),
        (pa.uint32(), ["4294967295"], [2**32 - 1]),
        (pa.uint64(), ["18446744073709551615"], [2**64 - 1]),
        (pa.float32(), ["0.5", "-inf", "Infinity"], [0.5, -math.inf, math.inf]),
        (pa.float64(), ["0.1", "inf", "1e-300"], [0.1, math.inf, 1e-300]),
        (pa.utf8(), ["", "NA", "nan", "é"], ["", "NA", "nan", "é"]),
        (pa.large_utf8(), ["", "NA"], ["", "NA"]),
        (pa.binary(), ["NA", "é"], [b"NA", "é".encode()]),
    ],
    ids=str,
)
def test_all_types_exactly(tmp_path, type_, texts, expected):
    schema = Schema([("x", type_)])
    source = opened(tmp_path, "id,x\n" + "".join(f"u,{text}\n" for text in texts), schema)
    batch = take(source, len(texts))
    assert batch.schema is schema
    assert batch.arrow(0).type == type_
    assert values(batch) == expected


@pytest.mark.parametrize("text", ["NaN", "nan", "-nan", "-NaN"])
@pytest.mark.parametrize("type_", [pa.float32(), pa.float64()], ids=str)
def test_nan_is_a_value_of_float_columns_only(tmp_path, type_, text):
    (value,) = values(take(opened(tmp_path, f"id,x\nu,{text}\n", Schema([("x", type_)])), 1))
    assert math.isnan(value)
    assert refused(tmp_path, f"id,x\nu,{text}\n").startswith("rows.csv:2: the value of column 'x' is no int64")


def test_columns_come_in_the_order_of_the_schema_and_others_may_hold_anything(tmp_path):
    schema = Schema([("b", pa.float64()), ("a", pa.utf8())])
    batch = take(opened(tmp_path, "z,a,id,z,b\n?,t,u,,1.5\n", schema), 1)
    assert batch.rows() == [(1.5, "t")]


def test_the_id_column_may_be_a_feature_too(tmp_path):
    assert values(take(opened(tmp_path, "x,y\n7,\n", id_column="x"), 1)) == [7]


def test_batches_know_their_columns_as_numbers(tmp_path):
    batch = take(opened(tmp_path, numbered(4)), 4)
    assert isinstance(batch, Batch)
    assert batch.matrix().tolist() == [[0.0], [1.0], [2.0], [3.0]]


# -------------------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ("secret", "the value of column 'x' is no int64"),
        ("1.0", "the value of column 'x' is no int64"),
        ("9223372036854775808", "the value of column 'x' is no int64"),
        ("", "column 'x' is null here"),
        ('""', "column 'x' is null here"),
        ("NULL", "column 'x' is null here"),
        ("n/a", "column 'x' is null here"),
        ("1,secret", "the row has 3 cells, the header 2"),
    ],
)
@pytest.mark.parametrize("block_size", [20, 64, 1 << 20])
def test_what_is_wrong_is_named_with_its_line(tmp_path, cells, problem, block_size):
    head = 'id,x\n"a\nb",1\n\n' + "".join(f"u{i},{i}\n" for i in range(50))
    message = refused(tmp_path, f"{head}secret,{cells}\nu,2\n", block_size=block_size)
    assert message.startswith(f"rows.csv:55: {problem}")


def test_text_that_is_no_utf8_is_found(tmp_path):
    message = refused(tmp_path, b"x,id\n1,a\n1,\xff\xfe\n")
    assert message.startswith("rows.csv:3: the value of column 'id' is no string")


def test_a_quote_that_is_not_closed_swallows_no_rows(tmp_path):
    message = refused(tmp_path, 'x,id\n1,a\n2,"secret\n3,c\n')
    assert message.startswith("rows.csv:2: a quote in the row after this one is not closed")


def test_a_row_or_header_longer_than_a_block(tmp_path):
    content = "id,x\na,1\n" + "secret" * 50 + ",2\n"
    assert "a row is longer than block_size, 64 bytes" in refused(tmp_path, content, block_size=64)
    assert "a row is longer than block_size, 2 bytes" in refused(tmp_path, content, block_size=2)
    assert opened(tmp_path, content, block_size=400).row_count == 2


def test_a_cell_beyond_what_can_be_located_leaves_the_row(tmp_path):
    assert refused(tmp_path, f"id,x\n{'secret' * 30_000},1\nb,\n").startswith("rows.csv row 2: column 'x' is null")
    assert "no header" in refused(tmp_path, f"{'secret' * 30_000},x\n")


def test_columns_that_are_missing_or_twice_there(tmp_path):
    assert "rows.csv:1: the file has no column 'x'" in refused(tmp_path, "id,y\na,1\n", kind=ConfigError)
    assert "rows.csv:1: the file has no column 'id'" in refused(tmp_path, "ID,x\na,1\n", kind=ConfigError)
    assert "names column 'x' 2 times" in refused(tmp_path, "id,x,x\na,1,1\n")
    assert "the file is empty" in refused(tmp_path, "\n\n")


def test_a_type_that_csv_cannot_hold(tmp_path):
    message = refused(tmp_path, "id,x\na,1\n", Schema([("x", pa.float16())]))
    assert "cannot be read as CSV (ArrowNotImplementedError)" in message


@pytest.mark.parametrize(
    ("path", "code", "text"),
    [
        ("no/such.csv", ErrorCode.NOT_FOUND, "no such file"),
        (".", ErrorCode.INVALID_ARGUMENT, "a directory or a device"),
        ("/dev/zero", ErrorCode.INVALID_ARGUMENT, "a directory or a device"),
        ("rows.csv/inner", ErrorCode.IO_ERROR, "cannot be read"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, path, code, text):
    (tmp_path / "rows.csv").write_text("id,x\n")
    with pytest.raises(ConfigError, match=text) as caught:
        made(tmp_path, path=Path(path)).open()
    assert caught.value.code == code
    assert str(tmp_path / path) in str(caught.value)


@pytest.mark.parametrize("options", [{"block_size": 0}, {"block_size": -1}, {"block_size": 1 << 31}, {"rows": 1}])
def test_options_that_are_none(options):
    with pytest.raises(ValidationError):
        StreamingConfig(path=Path("rows.csv"), **options)


# ---------------------------------------------------------------------- real files
def test_real_files(cases):
    paths = sorted(cases.glob("wire/**/in.csv"))
    assert paths
    for path in paths:
        with path.open(newline="") as file:
            names, *rows = csv.reader(file)
        schema = Schema([(name, pa.utf8()) for name in names])
        source = made(path.parent, schema, path=path, id_column=names[0])
        source.open()
        assert source.row_count == len(rows)
        assert take(source, len(rows)).rows() == [tuple(row) for row in rows]
