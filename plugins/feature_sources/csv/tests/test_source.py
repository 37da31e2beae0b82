"""Look-ups in real files."""

import logging
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import sfs_feature_csv
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sfs_feature_csv.source import CsvConfig, CsvFeatureSource

from sfs_core import ConfigError, ErrorCode, FeatureContext, FeatureError, FeatureQuery, Schema

FLOATS = Schema([("a", pa.float64()), ("b", pa.float64())])
MIXED = Schema([("a", pa.float64()), ("name", pa.utf8()), ("flag", pa.bool_()), ("key", pa.binary())])


def opened(folder, content, schema=FLOATS, **options):
    path = folder / "features.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    context = FeatureContext("svc", "alice", logging.getLogger("test"), folder, schema, None)
    source = CsvFeatureSource(CsvConfig(path=Path("features.csv"), **options), context)
    source.open()
    return source


def fetch(source, *ids):
    return source.fetch(FeatureQuery(list(ids))).batch


def refused(folder, content, schema=FLOATS, kind=FeatureError, **options):
    with pytest.raises(kind) as caught:
        opened(folder, content, schema, **options)
    assert "secret" not in f"{caught.value} {caught.value.detail}".replace(str(folder), "")
    return str(caught.value).removeprefix(f"{folder}/")


def test_declares_itself_without_heavy_imports():
    script = "import sys, sfs_feature_csv; sfs_feature_csv.sfs_feature_sources(); sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
    (spec,) = sfs_feature_csv.sfs_feature_sources()
    assert (spec.name, spec.egress) == ("csv", "none")


# ------------------------------------------------------------------------- look-up
def test_keeps_the_order_of_the_query_and_serves_repeats(tmp_path):
    source = opened(tmp_path, "id,a,b\nx,1,10\ny,2,20\nz,3,30\n")
    assert fetch(source, "z", "x", "z").rows() == [(3.0, 30.0), (1.0, 10.0), (3.0, 30.0)]


def test_ids_are_exact_texts(tmp_path):
    source = opened(tmp_path, "id,a,b\n7,1,0\n07,2,0\n7.0,3,0\n,4,0\nNA,5,0\n 7,6,0\n")
    assert [row[0] for row in fetch(source, "07", "7.0", "7", "", "NA", " 7").rows()] == [2, 3, 1, 4, 5, 6]


def test_unknown_ids_are_counted_and_placed_but_not_told(tmp_path):
    source = opened(tmp_path, "id,a,b\nx,1,10\n")
    with pytest.raises(FeatureError) as caught:
        fetch(source, "secret", "x", *["secret"] * 9)
    assert caught.value.code == ErrorCode.INVALID_ARGUMENT
    assert "10 of 11 ids" in str(caught.value)
    assert "0, 2, 3, 4, 5, …" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_columns_come_in_the_order_of_the_schema(tmp_path):
    source = opened(tmp_path, "b,unused,id,a\n1,text,x,2\n")
    assert fetch(source, "x").rows() == [(2.0, 1.0)]


def test_a_schema_without_columns_needs_only_ids(tmp_path):
    source = opened(tmp_path, "id,what\nx,text\ny,\n", Schema())
    assert fetch(source, "y", "x", "y").num_rows == 3
    with pytest.raises(FeatureError, match="1 of 1 ids"):
        fetch(source, "z")


def test_the_id_column_may_be_a_feature_too(tmp_path):
    source = opened(tmp_path, "id,b\n07,1\n", Schema([("id", pa.int64())]))
    assert fetch(source, "07").column(0).tolist() == [7]


def test_few_rows_come_as_tuples_and_many_as_a_matrix(tmp_path):
    source = opened(tmp_path, "id,a,b\nx,1,10\ny,2,20\n")
    assert fetch(source, "x").form == "rows"
    assert [type(value) for value in fetch(source, "x").rows()[0]] == [float, float]
    assert fetch(source, *["x", "y"] * 5).form == "matrix"


def test_numbers_of_any_type_come_as_tuples_of_exactly_these(tmp_path):
    schema = Schema([("n", pa.uint64()), ("x", pa.float32())])
    ((n, x),) = fetch(opened(tmp_path, "id,n,x\nx,18446744073709551615,0.1\n", schema), "x").rows()
    assert (type(n), n) == (int, 2**64 - 1)
    assert (type(x), x) == (float, float(np.float32(0.1)))


def test_other_types_than_numbers_text_and_bytes_never_come_as_tuples(tmp_path):
    schema = Schema([("a", pa.float64()), ("day", pa.date32())])
    assert fetch(opened(tmp_path, "id,a,day\nx,1,2026-11-23\n", schema), "x").form == "columns"


ROWS = [(f"id {i}", i / 7, f'n"{i},\n', i % 3 == 0, bytes([i + 128])) for i in range(20)]
MIXED_FILE = b"id,a,name,flag,key\r\n" + b"".join(
    f'{id_},{a!r},"{name.replace(chr(34), chr(34) * 2)}",{flag},'.encode() + key + b"\r\n"
    for id_, a, name, flag, key in ROWS
)
INTS = Schema([("a", pa.float64()), ("a32", pa.float32()), ("n", pa.uint64())])
INTS_FILE = "id,a,a32,n\n" + "".join(f"id {i},{i / 7!r},{i / 3!r},{2**64 - 1 - i}\n" for i in range(20))


@pytest.mark.parametrize(
    ("schema", "content"),
    [(MIXED, MIXED_FILE), (INTS, INTS_FILE), (Schema([("a", pa.float64())]), INTS_FILE), (Schema(), INTS_FILE)],
)
def test_any_order_and_repetition_gives_the_rows_of_single_queries(tmp_path, schema, content):
    source = opened(tmp_path, content, schema)
    single = {row[0]: fetch(source, row[0]).to_arrow().to_pylist()[0] for row in ROWS}

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.sampled_from(sorted(single)), max_size=90))
    def check(ids):
        batch = fetch(source, *ids)
        assert batch.num_rows == len(ids)
        assert batch.to_arrow().to_pylist() == [single[id_] for id_ in ids]
        assert batch.to_arrow().schema.equals(schema.arrow)

    check()


def test_mixed_rows_equal_what_was_written(tmp_path):
    source = opened(tmp_path, MIXED_FILE, MIXED)
    assert fetch(source, *[row[0] for row in ROWS]).rows() == [row[1:] for row in ROWS]
    assert fetch(source, *[row[0] for row in ROWS] * 5).form == "columns"


# --------------------------------------------------------------------------- types
@pytest.mark.parametrize(
    ("type_", "texts", "values"),
    [
        (pa.bool_(), ["true", "False", "1", "0"], [True, False, True, False]),
        *[(t, ["-128", "0", "127"], [-128, 0, 127]) for t in (pa.int8(), pa.int16(), pa.int32(), pa.int64())],
        *[(t, ["0", "255"], [0, 255]) for t in (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())],
        (pa.uint32(), ["4294967295"], [2**32 - 1]),
        (pa.uint64(), ["18446744073709551615"], [2**64 - 1]),
        (pa.int64(), ["-9223372036854775808"], [-(2**63)]),
        (pa.float32(), ["0.1", "-inf"], [float(np.float32(0.1)), -math.inf]),
        (pa.float64(), ["0.1", "1e-300", "+1", ".5", "-0"], [0.1, 1e-300, 1.0, 0.5, -0.0]),
        *[(t, ["", "NA", "nan", '"a,""b"', "é"], ["", "NA", "nan", 'a,"b', "é"]) for t in (pa.utf8(), pa.large_utf8())],
        (pa.binary(), ["NA", "é"], [b"NA", "é".encode()]),
    ],
    ids=str,
)
def test_all_types_exactly(tmp_path, type_, texts, values):
    lines = "".join(f"{i},{text}\n" for i, text in enumerate(texts))
    source = opened(tmp_path, f"id,x\n{lines}", Schema([("x", type_)]))
    assert fetch(source, *map(str, range(len(texts)))).arrow(0).to_pylist() == values
    many = [str(i) for i in range(len(texts))] * 65
    assert fetch(source, *many).arrow(0).to_pylist() == values * 65
    assert fetch(source, "0").arrow(0).type == type_


@pytest.mark.parametrize("type_", [pa.float64(), pa.float32()])
def test_nan_and_infinities_are_values_of_float_columns(tmp_path, type_):
    texts = ["NaN", "nan", "-nan", "-NaN", "NAN", "inf", "-inf", "Infinity", "-Infinity", "+inf"]
    lines = "".join(f"{i},{text}\n" for i, text in enumerate(texts))
    batch = fetch(opened(tmp_path, f"id,x\n{lines}", Schema([("x", type_)])), *map(str, range(10)))
    values = batch.float64(0)
    assert np.isnan(values[:5]).all()
    assert values[5:].tolist() == [math.inf, -math.inf, math.inf, -math.inf, math.inf]


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (pa.float64(), "secret"),
        (pa.float64(), "0x10"),
        (pa.float32(), "1.5secret"),
        (pa.int8(), "128"),
        (pa.int32(), "1.0"),
        (pa.uint64(), "-1"),
        (pa.uint32(), "4294967296"),
        (pa.bool_(), "yes"),
    ],
    ids=str,
)
def test_a_value_that_does_not_fit_is_found(tmp_path, type_, text):
    schema = Schema([("a", pa.float64()), ("x", type_)])
    message = refused(tmp_path, f"id,a,x\nu,1,1\n\nv,1,1\nw,1,{text}\n", schema)
    assert message.startswith(f"features.csv:5: the value of column 'x' is no {type_}")


def test_text_that_is_no_utf8_is_found(tmp_path):
    message = refused(tmp_path, b"id,x\nu,1\nv,\xff\xfe\n", Schema([("x", pa.utf8())]))
    assert message.startswith("features.csv:3: the value of column 'x'")
    assert refused(tmp_path, b"id,x\nu,1\n\xff,1\n", Schema()).startswith("features.csv:3: the value of column 'id'")


def test_the_line_is_right_far_down_and_behind_quoted_line_ends(tmp_path):
    head = 'id,a,b,"no\nte"\n' + "".join(f'{i},1,2,"two\r\nlines"\n' for i in range(300_000))
    message = refused(tmp_path, head + "z,1,secret,x\ny,1,2,x\n")
    assert message.startswith("features.csv:600003: the value of column 'b' is no double")


# --------------------------------------------------------------------------- nulls
@pytest.mark.parametrize("text", ["", '""', "NA", "#N/A", "null", "NULL", "n/a", "1.#IND", "-1.#QNAN"])
def test_null_in_a_float_column_is_refused(tmp_path, text):
    message = refused(tmp_path, f"id,a,b\nu,1,1\nv,{text},\nw,,1\n")
    assert message.startswith("features.csv:3: column 'a' is null here (null cells in this column: 2)")
    assert "nulls: keep" in message


@pytest.mark.parametrize("text", ["", "nan", "NaN", "-NaN", "NA"])
@pytest.mark.parametrize("type_", [pa.int32(), pa.bool_()], ids=str)
def test_nan_is_null_where_no_float_is_wanted(tmp_path, type_, text):
    schema = Schema([("a", pa.float64()), ("n", type_)])
    content = f"id,a,n\nu,NaN,1\nv,1,{text}\n"
    assert refused(tmp_path, content, schema).startswith("features.csv:3: column 'n' is null here")
    batch = fetch(opened(tmp_path, content, schema, nulls="keep"), "v", "u")
    assert batch.arrow(1).to_pylist() == [None, 1]
    assert batch.float64(0)[0] == 1.0
    assert np.isnan(batch.float64(0)[1])


def test_kept_nulls_reach_the_model_and_no_number(tmp_path):
    source = opened(tmp_path, "id,a,b\nu,1,\nv,2,3\n", nulls="keep")
    batch = fetch(source, "v", "u", "u")
    assert batch.form == "columns"
    assert batch.arrow(1).to_pylist() == [3.0, None, None]
    with pytest.raises(FeatureError, match="column 'b', row 1: null"):
        batch.matrix()


def test_kept_nulls_beside_text_are_no_tuples(tmp_path):
    source = opened(tmp_path, "id,a,name,flag,key\nu,,x,1,k\nv,1,x,1,k\n", MIXED, nulls="keep")
    assert [fetch(source, id_).form for id_ in "uv"] == ["columns", "columns"]


def test_an_unknown_policy_is_no_config():
    with pytest.raises(ValidationError):
        CsvConfig(path="x", nulls="zero")


# ------------------------------------------------------------------- the file itself
@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfid,a,b\nx,1,2\n",
        b"id,a,b\r\nx,1,2\r\n",
        b"id,a,b\rx,1,2\r",
        b"id,a,b\nx,1,2",
        b"\n\nid,a,b\n\n\nx,1,2\n\n",
        b'"id","a","b"\n"x","1","2"\n',
        b'id,a,b,note\nx,1,2,"a ""quoted"" text, 5"" wide\nof two lines"\n',
        b'id,a,b,note\nx,1,2,5" wide\n',
        b"id,z,z,a,b\nx,3,4,1,2\n",
        "ä,id,a,b\né,x,1,2\n".encode("latin-1"),
    ],
)
def test_spellings_of_csv(tmp_path, content):
    assert fetch(opened(tmp_path, content), "x").rows() == [(1.0, 2.0)]


@pytest.mark.parametrize("content", ["id,a,b\n", "id,a,b", "\ufeffid,a,b\r\n\r\n"])
@pytest.mark.parametrize("schema", [FLOATS, Schema([("a", pa.utf8()), ("b", pa.int8())]), Schema()], ids=str)
def test_a_header_alone_is_a_file_of_no_rows(tmp_path, content, schema):
    source = opened(tmp_path, content, schema)
    assert fetch(source).num_rows == 0
    with pytest.raises(FeatureError, match="1 of 1 ids"):
        fetch(source, "x")


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff"])
def test_an_empty_file_has_no_header(tmp_path, content):
    assert "the file is empty" in refused(tmp_path, content)


def test_missing_and_repeated_columns(tmp_path):
    assert "has no column 'b'" in refused(tmp_path, "id,a\nx,1\n", kind=ConfigError)
    assert "has no column 'id'" in refused(tmp_path, "ID,a,b\nx,1,1\n", kind=ConfigError)
    assert "has no column 'key'" in refused(tmp_path, "id,a,b\nx,1,1\n", kind=ConfigError, id_column="key")
    assert "names column 'a' 2 times" in refused(tmp_path, "id,a,b,a\nx,1,1,1\n")
    assert "names column 'id' 2 times" in refused(tmp_path, "id,a,b,id\nx,1,1,1\n", Schema())


@pytest.mark.parametrize("row", ["secret,1", "secret,1,2,3", "secret"])
def test_uneven_rows(tmp_path, row):
    message = refused(tmp_path, f'id,a,b\n"x\n",1,2\n{row}\ny,1,2\n')
    assert message.startswith(f"features.csv:4: the row has {row.count(',') + 1} cells, the header 3")


@pytest.mark.parametrize("tail", ['y,"2,3\nz,4,5\n', 'y,2,"3\nz,4,5\n', 'y,2,3,"secret\n'])
def test_a_quote_that_is_not_closed_swallows_no_rows(tmp_path, tail):
    message = refused(tmp_path, f"id,a,b\nx,1,2\n{tail}")
    assert message.startswith("features.csv:2: a quote in the row after this one is not closed")


def test_duplicate_ids_are_refused_with_their_lines(tmp_path):
    message = refused(tmp_path, 'id,a,b\nsecret,1,2\n"two\nlines",1,2\nsecret,3,4\n"two\nlines",1,2\n')
    assert message.startswith("features.csv: column 'id': 2 row(s) have the id of another row: lines 2 and 5, 3 and 6")
    message = refused(tmp_path, "id,a,b\n" + "secret,1,2\n" * 100)
    assert "99 row(s)" in message
    assert "lines 2 and 101, 3 and 101, 4 and 101, 5 and 101, 6 and 101, …" in message


def test_a_row_longer_than_a_block(tmp_path):
    assert "longer than 8 MiB" in refused(tmp_path, "id,a,b,t\nx,1,2," + "secret" * 3_500_000 + "\n")


def test_a_long_cell_leaves_errors_readable(tmp_path):
    long = "secret" * 30_000
    message = refused(tmp_path, f"id,a,b,t\nx,1,2,{long}\ny,1,,t\n")
    assert message.startswith("features.csv row 2: column 'b' is null here")
    assert "lines ? and ?" in refused(tmp_path, f"id,a,b,t\nx,1,2,{long}\nx,1,2,t\n")
    assert "a name is longer" in refused(tmp_path, f"{long},id,a,b\n")


@pytest.mark.parametrize(
    ("path", "code", "text"),
    [
        ("no/such.csv", ErrorCode.NOT_FOUND, "no such file"),
        (".", ErrorCode.INVALID_ARGUMENT, "a directory or a device"),
        ("/dev/zero", ErrorCode.INVALID_ARGUMENT, "a directory or a device"),
        ("features.csv/inner", ErrorCode.IO_ERROR, "cannot be read"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, path, code, text):
    (tmp_path / "features.csv").write_text("id,a,b\n")
    context = FeatureContext("svc", "alice", logging.getLogger("test"), tmp_path, FLOATS, None)
    with pytest.raises(ConfigError, match=text) as caught:
        CsvFeatureSource(CsvConfig(path=path), context).open()
    assert caught.value.code == code
    assert str(tmp_path / path) in str(caught.value)


def test_a_type_that_csv_cannot_hold(tmp_path):
    assert "ArrowNotImplementedError" in refused(tmp_path, "id,a\nx,1\n", Schema([("a", pa.float16())]))


# ----------------------------------------------------------------------- real files
def test_real_files(cases, tmp_path):
    for path in sorted(cases.glob("*/*/*.csv")):
        header, *lines = path.read_text().splitlines()
        names = header.split(",")
        if path.parent.name.startswith("pre_fillna") or "id" not in names or len(names) < 2:
            continue
        cells = [line.split(",") for line in lines]
        numeric = [i for i, name in enumerate(names) if name != "id" and all(_is_number(row[i]) for row in cells)]
        schema = Schema([(names[i], pa.float64()) for i in numeric])
        at = names.index("id")
        source = opened(tmp_path, path.read_bytes(), schema)
        batch = fetch(source, *(row[at] for row in cells))
        expected = np.array([[float(row[i]) for i in numeric] for row in cells]).reshape(len(cells), len(numeric))
        assert np.array_equal(batch.matrix(), expected, equal_nan=True), path


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True
