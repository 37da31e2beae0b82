"""Packed rows of encrypted linear models: scores as of the plain form, and what a dishonest peer cannot do."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from gmpy2 import mpz, powmod
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sfs_op_phe.matrices import read_cipher_matrix, read_plain_matrix, write_cipher_matrix, write_plain_matrix
from sfs_op_phe.packing import EXTENSION, MARGIN, SECRET_GAP, ScoreSlots, read_packed, write_packed
from sfs_op_phe.wire import WireError

from sfs_core import Batch, ErrorCode, FeatureError, GraphError, SfsError

from .conftest import Parties, context
from .test_linear import WEIGHTS, Model, dot_attributes, expected, features, with_cell

BITS = ScoreSlots.bits
LARGEST = (1 << ScoreSlots.value_bits) - 1


@pytest.fixture(scope="module")
def model(packing):
    dots = {
        "alice": dot_attributes("alice", WEIGHTS["alice"], packing, intercept=-0.75),
        "bob": dot_attributes("bob", WEIGHTS["bob"], packing, offset=True),
    }
    return Model(packing, dots)


@pytest.fixture(scope="module")
def plain(parties):
    dots = {
        "alice": dot_attributes("alice", WEIGHTS["alice"], parties, intercept=-0.75),
        "bob": dot_attributes("bob", WEIGHTS["bob"], parties, offset=True),
    }
    return Model(parties, dots)


def rows_of(count, seed=1, scale=1.0):
    draw = np.random.default_rng(seed)
    return {p: (scale * draw.normal(size=(count, 3))).round(6).tolist() for p in ("alice", "bob")}


def cell(batch, column=0):
    return batch.rows()[0][column]


@pytest.mark.parametrize("requester", ["alice", "bob"])
@pytest.mark.parametrize("count", [1, 2, 4, 5, 11])
def test_scores_equal_those_of_the_plain_form(model, plain, requester, count):
    rows = rows_of(count, count, 1e3)
    assert model.score(requester, rows).tolist() == plain.score(requester, rows).tolist()
    np.testing.assert_allclose(model.score(requester, rows), expected(rows), rtol=1e-6, atol=1e-5)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(*[st.floats(-1e13, 1e13)] * 6), min_size=2, max_size=6), st.sampled_from(["alice", "bob"]))
def test_scores_of_any_rows(model, plain, rows, requester):
    table = {"alice": [row[:3] for row in rows], "bob": [row[3:] for row in rows]}
    assert model.score(requester, table).tolist() == plain.score(requester, table).tolist()


def test_scores_with_paillier_keys(paillier_parties):
    packing = Parties(paillier_parties.secrets, frozenset({EXTENSION}))
    model = Model(packing, {p: dot_attributes(p, WEIGHTS[p], packing, offset=p == "bob") for p in ("alice", "bob")})
    rows = rows_of(9)
    partials = model.partials("alice", rows)
    assert read_cipher_matrix(read_packed(cell(partials[0]), BITS, 1).parts[0], packing.key("bob")).rows == 2
    np.testing.assert_allclose(model.score("alice", rows), np.add(expected(rows), 0.75), rtol=1e-6, atol=1e-5)


def test_four_rows_take_one_ciphertext(model, packing):
    """Of each party."""
    for party, requester in (("alice", "alice"), ("alice", "bob")):
        table = model.dot[party].compute(context(party, requester), features(model.dot[party], rows_of(12)["alice"]))
        rows, (matrix,) = read_packed(cell(table), BITS, 1)
        assert rows == 12
        assert len(read_cipher_matrix(matrix, packing.key("bob")).items) == 3


# ------------------------------------------------------------------------------------------------------- arithmetic
@pytest.mark.parametrize("capacity", [0, 682, 683, 1022, 2046, 8000])
def test_masks_leave_room_on_both_sides(capacity):
    """For the range check above, and for what they hide below."""
    slots = ScoreSlots(capacity)
    if slots.used:
        most = sum(((1 << (BITS - 1)) - 1) * shift for shift in slots.shifts)
        masked = (1 << slots.mask_bits) - 1 + most
        assert masked.bit_length() <= slots.masked_bits <= capacity - SECRET_GAP
        assert slots.mask_bits - most.bit_length() >= MARGIN


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(-LARGEST, LARGEST) | st.sampled_from([-LARGEST, LARGEST, 0, -1]), min_size=1, max_size=9),
    st.data(),
)
def test_packed_values_come_back_from_masked_sums(values, data):
    """Whatever the masks are, and although slots of masked numbers carry into each other."""
    slots = ScoreSlots(682)
    numbers = [slots.pack(group) for group in slots.groups(values)]
    masks = [data.draw(st.integers(0, (1 << slots.mask_bits) - 1)) for _ in numbers]
    theirs = [data.draw(st.integers(0, (1 << slots.mask_bits) - 1)) for _ in numbers]
    sent = [number + mask - other for number, mask, other in zip(numbers, masks, theirs, strict=True)]
    unmasked = [s - mask + other for s, mask, other in zip(sent, masks, theirs, strict=True)]
    assert slots.unpack(unmasked, len(values), "score") == values


@pytest.mark.parametrize("value", [LARGEST + 1, -LARGEST - 1, 1 << (BITS - 2), 1 << (BITS - 1), 3 << (BITS - 2)])
@pytest.mark.parametrize("slot", [0, 1, 3])
def test_values_that_are_too_long_give_no_score(value, slot):
    """Not of their row, and not of the next one, into which they carry."""
    slots = ScoreSlots(682)
    number = slots.pack([0, 0, 0, 0]) + value * slots.shifts[slot]
    with pytest.raises(SfsError, match="out of range"):
        slots.unpack([number], 4, "score")


def test_offsets_that_fit_no_slot(model):
    """2^120 / (F S)"""
    table = features(model.dot["bob"], [[0, 0, 0], [0, 0, 1e23]])
    with pytest.raises(FeatureError, match="column 'bob2', row 1: the value is too large"):
        model.dot["bob"].compute(context("bob", "alice"), table)


# ---------------------------------------------------------------------------------------------------------- attacks
SAME = {p: [[1, 1, 1]] * 8 for p in ("alice", "bob")}


@pytest.mark.parametrize("requester", ["alice", "bob"])
def test_each_number_has_a_wide_fresh_mask_at_both_parties(model, packing, requester):
    """In the plain form, the party that is not asked has one for all rows, and their differences show."""
    seen = set()
    for _ in range(2):
        result = read_packed(cell(model.partials("alice", SAME)[0 if requester == "alice" else 1]), BITS, 1).parts[0]
        reader = packing.secrets["bob" if requester == "alice" else "alice"]
        values = reader.decrypt(read_cipher_matrix(result, reader.public).items)
        assert all(value.bit_length() > 4 * BITS + MARGIN - 40 for value in values)
        seen |= set(values)
        assert max((a - b).bit_length() for a in values for b in values) > 4 * BITS
    assert len(seen) == 4


def test_the_peer_s_masks_are_sealed(model):
    """Only the party that made them can read them, nobody can change them, and they fit no other use."""
    alice, bob = context("alice", "alice"), context("bob", "alice")
    own, theirs = model.partials("alice", SAME)
    token = cell(theirs, 1)
    sealed_by_alice = cell(model.partials("bob", SAME)[1], 1)
    selection = model.dot["bob"].keyring.tokens.seal(b"x", "elsewhere")
    for bad in (b"", token[:-1], token + b"\0", bytes([token[0] ^ 1]) + token[1:], sealed_by_alice, selection):
        request = model.for_peer["alice"].compute(alice, [own, with_cell(theirs, 1, bad)])
        with pytest.raises(WireError, match="column 'y' of bob: this party's"):
            model.decrypt["bob"].compute(bob, request)
    of_others = cell(model.partials("alice", rows_of(3))[1], 1)
    request = model.for_peer["alice"].compute(alice, [own, with_cell(theirs, 1, of_others)])
    with pytest.raises(GraphError, match="asks for 8 rows, this party masked 3"):
        model.decrypt["bob"].compute(bob, request)


def request_of(model, key, items, rows, token):
    matrix = write_cipher_matrix(len(items), 1, 2, items, key)
    schema = model.decrypt["bob"].input_schemas()[0]
    return Batch.from_rows(schema, [(write_packed(rows, BITS, matrix, token),)])


def test_decryption_gives_nothing_of_the_key_away(model, packing):
    """Numbers beyond the plaintext space, and up to its end, are not given out, with or without masks."""
    key, bob = packing.key("bob"), context("bob", "alice")
    token = cell(model.partials("alice", rows_of(4))[1], 1)
    for bits in (597, 640, 681, 690, 700, 1200):
        chosen = key.enter(powmod(key.g, mpz(1) << bits, key.n))
        with pytest.raises(SfsError, match="out of range") as caught:
            model.decrypt["bob"].compute(bob, request_of(model, key, [chosen], 4, token))
        assert caught.value.code == ErrorCode.INVALID_ARGUMENT


def test_what_is_decrypted_for_the_requester_is_masked(model, packing):
    """In the plain form, a number of the requester's choice comes back as it is; where packing is agreed on, that is no
    way around."""
    key, bob = packing.key("bob"), context("bob", "alice")
    plain = write_cipher_matrix(1, 1, 2, [key.power(42)], key)
    with pytest.raises(WireError, match="not packed"):
        model.decrypt["bob"].compute(bob, Batch.from_rows(model.decrypt["bob"].input_schemas()[0], [(plain,)]))
    token = cell(model.partials("alice", rows_of(4))[1], 1)
    chosen = key.enter(key.power(42))
    answer = model.decrypt["bob"].compute(bob, request_of(model, key, [chosen], 4, token))
    (value,) = read_plain_matrix(read_packed(cell(answer), BITS, 1).parts[0]).items
    assert abs(value).bit_length() > 4 * BITS


def test_peer_s_cells_that_do_not_fit(model, packing, plain):
    alice, key = context("alice", "alice"), packing.key("alice")
    own, theirs = model.partials("alice", SAME)
    matrix = read_packed(cell(theirs), BITS, 1).parts[0]
    short = write_cipher_matrix(1, 1, 2, [key.noise()], key)
    bad = {
        "not packed, as the parties agreed": cell(plain.partials("alice", SAME)[1]),
        "packed as the parties": write_packed(8, BITS, matrix, b""),
        "slots of 99 bits, here they have 138": write_packed(8, 99, matrix),
        "packed 7 rows, there are 8": write_packed(7, BITS, matrix),
        "1 x 1, 2 x 1 is needed": write_packed(8, BITS, short),
        "end too early": cell(theirs)[:-1],
        "bytes too many": cell(theirs) + b"\0",
    }
    for message, data in bad.items():
        with pytest.raises(SfsError, match=message):
            model.for_self["alice"].compute(alice, [own, with_cell(theirs, 0, data)])


def test_sums_whose_masks_do_not_cancel(model):
    alice, bob = context("alice", "alice"), context("bob", "alice")
    first, second = model.partials("alice", SAME), model.partials("alice", SAME)
    decrypted = model.decrypt["bob"].compute(bob, model.for_peer["alice"].compute(alice, first))
    kept = model.for_self["alice"].compute(alice, second)
    with pytest.raises(SfsError, match="out of range"):
        model.merge["alice"].compute(alice, decrypted, kept)
    kept = model.for_self["alice"].compute(alice, first)
    plain = write_plain_matrix(1, 1, 2, [0])
    for message, data in {
        "decrypted 7 rows, there are 8": write_packed(7, BITS, plain),
        "1 x 1, 2 x 1 is needed": write_packed(8, BITS, plain),
        "not packed": plain,
    }.items():
        with pytest.raises(SfsError, match=message):
            model.merge["alice"].compute(alice, with_cell(decrypted, 0, data), kept)


def test_packed_cells_where_nothing_was_agreed(model, plain):
    """They are no matrices."""
    alice, bob = context("alice", "alice"), context("bob", "alice")
    own, theirs = model.partials("alice", SAME)
    request = model.for_peer["alice"].compute(alice, [own, theirs])
    with pytest.raises(WireError, match="no matrix"):
        plain.decrypt["bob"].compute(bob, request)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_cells_give_errors_or_numbers(model, damaged, data):
    where = data.draw(st.sampled_from(["decrypted", "kept", "request", "result"]))
    bad = bytearray(cell(damaged[where]))
    for _ in range(data.draw(st.integers(1, 3))):
        bad[data.draw(st.integers(0, len(bad) - 1) | st.integers(0, 12))] = data.draw(st.integers(0, 255))
    tables = damaged | {where: with_cell(damaged[where], 0, bytes(bad))}
    with suppress(SfsError):
        if where == "result":
            own, _ = tables["partials"]
            table = model.for_self["alice"].compute(context("alice", "alice"), [own, tables["result"]])
        elif where == "request":
            table = model.decrypt["bob"].compute(context("bob", "alice"), tables["request"])
        else:
            table = model.merge["alice"].compute(context("alice", "alice"), tables["decrypted"], tables["kept"])
        assert table.num_rows in (1, 8)


@pytest.fixture(scope="module")
def damaged(model):
    alice = context("alice", "alice")
    partials = model.partials("alice", SAME)
    request = model.for_peer["alice"].compute(alice, partials)
    decrypted = model.decrypt["bob"].compute(context("bob", "alice"), request)
    kept = model.for_self["alice"].compute(alice, partials)
    return {"request": request, "decrypted": decrypted, "kept": kept, "result": partials[1], "partials": partials}
