"""Function options as Arrow 14 and other versions wrote them."""

import base64
import json

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sfs_op_arrow.options import read_options

from sfs_core import ErrorCode, GraphError


def written(class_name, **members):
    """Option bytes as another version of Arrow might write them."""
    fields = [(name, value.type) for name, value in members.items()]
    struct = pa.StructArray.from_arrays(
        [pa.array([value.as_py()], value.type) for value in members.values()] + [pa.array([class_name.encode()])],
        fields=[pa.field(*field) for field in [*fields, ("_type_name", pa.binary())]],
    )
    sink = pa.BufferOutputStream()
    batch = pa.RecordBatch.from_arrays([struct], [""])
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def test_every_recorded_class(cases):
    recorded = json.loads((cases / "option_encodings.json").read_text())
    assert len(recorded) == 32
    for entry in recorded:
        options = read_options(base64.b64decode(entry["b64"]), entry["class"])
        assert type(options).__name__ == entry["class"]
        wanted = entry["options"]
        if entry["class"] == "PadOptions":  # has a new member since
            wanted = wanted.replace(")", ", lean_left_on_odd_padding=true)")
        assert str(options) == wanted


@pytest.mark.parametrize(
    "options",
    [
        pc.RoundOptions(-2, "half_up"),
        pc.CastOptions(pa.int32(), allow_float_truncate=True),
        pc.SetLookupOptions(pa.array(["a", None]), skip_nulls=True),
        pc.PadOptions(5, "*"),
    ],
)
def test_own_options_come_back(options):
    assert read_options(options.serialize().to_pybytes(), type(options).__name__) == options


def test_pad_options_before_their_third_member():
    data = written("PadOptions", width=pa.scalar(7), padding=pa.scalar("-"))
    with pytest.raises(pa.ArrowInvalid):
        pc.FunctionOptions.deserialize(pa.py_buffer(data))
    assert read_options(data, "PadOptions") == pc.PadOptions(7, "-")


def test_set_lookup_options_of_arrow_12():
    values = pa.array([1, 3], pa.int32())
    data = written(
        "SetLookupOptions", value_set=pa.scalar(values.to_pylist(), pa.list_(pa.int32())), skip_nulls=pa.scalar(True)
    )
    options = read_options(data, "SetLookupOptions")
    assert options == pc.SetLookupOptions(values, skip_nulls=True)
    assert pc.is_in(pa.array([1, 2], pa.int32()), options=options).to_pylist() == [True, False]


def test_cast_options_with_a_member_missing():
    data = written("CastOptions", to_type=pa.scalar(None, pa.int16()), allow_int_overflow=pa.scalar(True))
    options = read_options(data, "CastOptions")
    assert pc.cast(pa.array([1 << 20]), options=options).to_pylist() == [0]
    with pytest.raises(pa.ArrowInvalid):
        pc.cast(pa.array([1.5]), options=options)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no function options"),
        (b"ARROW1\0\0", "no function options"),
        (pc.RoundOptions(1).serialize().to_pybytes()[:-20], "no function options"),
        (pc.RoundOptions(1).serialize().to_pybytes(), "hold RoundOptions, the function takes PadOptions"),
        (written("PadOptions", ndigits=pa.scalar("x")), "was written by a version of Arrow"),
        (written("PadOptions", width=pa.scalar(7), colour=pa.scalar("red")), "cannot read"),
        (written("PadOptions", padding=pa.scalar("-")), "cannot read"),
        (written("PadOptions", width=pa.scalar(1 << 63, pa.uint64())), "cannot read"),
    ],
)
def test_options_refused(data, words):
    with pytest.raises(GraphError, match=words) as caught:
        read_options(data, "PadOptions")
    assert caught.value.code == ErrorCode.UNEXPECTED_ERROR


def test_an_enumeration_is_not_guessed():
    data = written("RoundToMultipleOptions", multiple=pa.scalar(2.0), round_mode=pa.scalar(5, pa.int8()))
    assert read_options(data, "RoundToMultipleOptions").serialize()  # complete, so Arrow reads it
    data = written("RoundTemporalOptions", multiple=pa.scalar(2, pa.int32()), unit=pa.scalar(6, pa.int8()))
    with pytest.raises(GraphError, match="cannot read"):
        read_options(data, "RoundTemporalOptions")


def test_mutated_options_are_refused_or_read(dice):
    options = [
        pc.CastOptions(pa.int32()),
        pc.SetLookupOptions(pa.array(["a", "bc", None])),
        pc.MakeStructOptions(["a", "b"], field_nullability=[True, False], field_metadata=[None, None]),
        pc.ReplaceSubstringOptions("a", "b"),
        pc.RoundOptions(2),
    ]
    originals = [(o.serialize().to_pybytes(), type(o).__name__) for o in options]
    read = 0
    for _ in range(10_000):
        data, name = dice.choice(originals)
        mutated = bytearray(data)
        for _ in range(dice.choice([1, 2, 8])):
            mutated[dice.randrange(len(mutated))] = dice.choice([0, 1, 127, 128, 255, dice.randrange(256)])
        try:
            read_options(bytes(mutated), name)
            read += 1
        except GraphError:
            pass
    assert 0 < read < 10_000


@pytest.mark.parametrize("digits", [1001, -(2**63)])
def test_endless_rounding_is_refused(digits):
    with pytest.raises(GraphError, match="more than 1000 digits"):
        read_options(pc.RoundOptions(digits).serialize().to_pybytes(), "RoundOptions")
