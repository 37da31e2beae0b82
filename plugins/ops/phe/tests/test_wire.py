"""Bytes: HEU's examples read and written exactly, anything else refused."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress

import pytest
from gmpy2 import mpz
from hypothesis import given, settings
from hypothesis import strategies as st
from sfs_op_phe.matrices import (
    read_cipher_matrix,
    read_one_ciphertext,
    read_plain_matrix,
    write_cipher_matrix,
    write_one_ciphertext,
    write_plain_matrix,
)
from sfs_op_phe.schemes import read_public_key, read_secret_key
from sfs_op_phe.wire import (
    Reader,
    WireError,
    integer_from_bytes,
    integer_to_bytes,
    read_ciphertext,
    read_matrix,
    read_plaintext,
    write_array,
    write_ciphertext,
    write_matrix,
    write_plaintext,
    write_text,
    write_unsigned,
)

from sfs_core import ErrorCode

TAG = "0100000000000000"
PUBLIC = bytes.fromhex("94 a86f36dac77aa4041a a8b1d1bd5732be820b a84c6f5c368420d503 13" + TAG)
SECRET = bytes.fromhex("97 a3150f11 a367e316 a2f103 a3c81805 a6b977ad012301 a38a8708 a86f36dac77aa4041a" + TAG)
FIVE = bytes.fromhex("91 a8b22f2fabc9b0410f" + TAG)
MINUS_THREE = bytes.fromhex("91 a872787244f7dc080f" + TAG)
VECTOR = bytes.fromhex("94 02 01 01 92") + b"\xb2" + FIVE + b"\xb2" + MINUS_THREE
PLAIN_VECTOR = bytes.fromhex("94 02 01 01 92 a905" + TAG + "a983" + TAG)


@pytest.mark.parametrize(
    ("number", "data"),
    [
        (0, "00"),
        (1, "01"),
        (-1, "81"),
        (127, "7f"),
        (-300, "2c81"),
        (128, "8000"),
        (-128, "8080"),
        (255, "ff00"),
        (256, "0001"),
        (2**64 - 1, "ffffffffffffffff00"),
    ],
)
def test_integers(number, data):
    assert integer_to_bytes(number).hex() == data
    assert integer_from_bytes(bytes.fromhex(data)) == number


def test_integers_may_be_padded_and_a_negative_zero_is_zero():
    assert integer_from_bytes(bytes.fromhex("0500000000")) == 5
    assert integer_from_bytes(bytes.fromhex("0500000080")) == -5
    assert integer_from_bytes(b"\x80") == 0
    with pytest.raises(WireError, match="without bytes"):
        integer_from_bytes(b"")


def test_worked_example():
    key = read_public_key(PUBLIC, least_bits=60)
    secret = read_secret_key(SECRET, key)
    assert (key.to_bytes(), secret.to_bytes()) == (PUBLIC, SECRET)
    n, g, h = key.n, key.g, key.h
    assert n == 1874804192138901103
    matrix = read_cipher_matrix(VECTOR, key)
    assert key.leave(matrix.items[0]) == g**5 * pow(h, 77, n) % n == 867844332166013660
    assert key.leave(matrix.items[1]) == pow(g, -3, n) * pow(h, 78, n) % n
    assert write_cipher_matrix(2, 1, 1, [key.enter(key.leave(item)) for item in matrix.items], key) == VECTOR
    assert write_one_ciphertext(read_one_ciphertext(FIVE, key), key) == FIVE
    plain = secret.decrypt(matrix.items)
    assert write_plain_matrix(2, 1, 1, plain) == PLAIN_VECTOR
    assert read_plain_matrix(PLAIN_VECTOR).items == [5, -3]
    five, minus_three = (key.leave(item) for item in matrix.items)
    assert secret.decrypt([key.enter(five**7 * minus_three % n)]) == [32]


def test_matrices_stand_column_by_column():
    data = write_plain_matrix(2, 3, 2, [1, 4, 2, 5, 3, -6])
    assert data.hex() == "94020302" + "96" + "".join(f"a9{x}{TAG}" for x in ("01", "04", "02", "05", "03", "86"))
    assert write_plain_matrix(3, 1, 1, [1, -1, 128]).hex() == f"9403010193a901{TAG}a981{TAG}aa8000{TAG}"


@given(st.integers())
def test_plaintexts_come_back(number):
    data = write_plaintext(number)
    assert read_plaintext(data) == number
    assert len(data) == abs(number).bit_length() // 8 + 1 + 8


@given(st.binary(max_size=70_000 // 100).map(lambda data: data * 100) | st.binary(max_size=300))
def test_texts_come_back(data):
    reader = Reader(write_text(data))
    assert reader.text() == data
    reader.end()


@pytest.mark.parametrize("size", [0, 31, 32, 255, 256, 65535, 65536])
def test_texts_and_arrays_at_the_borders_of_their_forms(size):
    assert Reader(write_text(bytes(size))).text() == bytes(size)
    assert Reader(write_array(size) + bytes(size)).array() == size
    assert Reader(write_unsigned(size)).unsigned() == size


@given(st.integers(0, 2**64 - 1))
def test_unsigned_integers_come_back(number):
    reader = Reader(write_unsigned(number))
    assert reader.unsigned() == number
    reader.end()


@given(st.integers(0, 2**4200) | st.integers(0, 300), st.sampled_from([1, 4]))
def test_ciphertexts_come_back(number, scheme):
    assert read_ciphertext(write_ciphertext(mpz(number), scheme), scheme) == number


@given(st.integers(1, 5), st.integers(1, 5), st.data())
def test_matrices_come_back(rows, columns, data):
    items = data.draw(st.lists(st.binary(min_size=9, max_size=40), min_size=rows * columns, max_size=rows * columns))
    matrix = read_matrix(write_matrix(rows, columns, 2, items))
    assert (matrix.rows, matrix.columns, matrix.dimensions, matrix.items) == (rows, columns, 2, items)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "end too early"),
        ("01", "no array"),
        ("93010101", "four parts"),
        ("9400010190", "0 x 1 with 0 items"),
        ("9402010191a901" + TAG, "2 x 1 with 1 items"),
        ("9401010391a901" + TAG, "1 dimensions|3 dimensions"),
        ("9401020192a901" + TAG + "a901" + TAG, "1 x 2 with 1 dimensions"),
        ("9402010092a901" + TAG + "a901" + TAG, "2 x 1 with 0 dimensions"),
        ("94ce3fffffff0102dd3fffffff", "more elements than there are bytes"),
        ("9401010191c40101", "more items than there are bytes"),
        ("9401010191a901" + TAG + "00", "1 bytes too many"),
        ("9401010191db7fffffff" + "00" * 20, "end too early"),
        ("94a10101019100", "no unsigned integer"),
    ],
)
def test_other_bytes_are_no_matrix(data, message):
    with pytest.raises(WireError, match=message) as caught:
        read_matrix(bytes.fromhex(data))
    assert caught.value.code == ErrorCode.DESERIALIZE_FAILED


def test_nothing_is_reserved_for_what_is_claimed():
    claims = [
        "94ce7fffffff01 01 dd7fffffff",
        "9401010191db7fffffff",
        "94cf00ffffffffffffff01 01 dd00ffffff" + "a1" * 1000,
        "ddffffffff",
    ]
    tracemalloc.start()
    for claim in claims:
        with pytest.raises(WireError):
            read_matrix(bytes.fromhex(claim))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


def test_tags_must_fit():
    with pytest.raises(WireError, match="tag 2 is not that of a plaintext"):
        read_plaintext(bytes.fromhex("05 0200000000000000"))
    with pytest.raises(WireError, match="scheme 2, the key is of scheme 1"):
        read_ciphertext(FIVE[:-8] + bytes.fromhex("0200000000000000"), 1)
    with pytest.raises(WireError, match="too short"):
        read_plaintext(bytes.fromhex(TAG))
    with pytest.raises(WireError, match="never negative"):
        read_ciphertext(bytes.fromhex("91 a185" + TAG), 1)


@pytest.mark.parametrize("value", [0, 1874804192138901103, 2**64])
def test_ciphertexts_outside_of_the_key_s_range_are_refused(value):
    key = read_public_key(PUBLIC, least_bits=60)
    with pytest.raises(WireError, match="outside of its key's range"):
        read_cipher_matrix(write_matrix(1, 1, 1, [write_ciphertext(mpz(value), 1)]), key)
    with pytest.raises(WireError, match="outside of its key's range"):
        read_one_ciphertext(write_ciphertext(mpz(value), 1), key)


@settings(max_examples=600, deadline=None)
@given(st.sampled_from([VECTOR, PUBLIC, SECRET, PLAIN_VECTOR, FIVE]), st.data())
def test_damaged_bytes_give_an_error_or_a_value(original, data):
    """Never another exception, however the bytes are damaged."""
    damaged = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(0, len(damaged)))]) if data.draw(st.booleans()) else bytes(damaged)
    key = read_public_key(PUBLIC, least_bits=60)
    readers = [
        lambda: read_cipher_matrix(cut, key),
        lambda: read_plain_matrix(cut),
        lambda: read_one_ciphertext(cut, key),
        lambda: read_public_key(cut, least_bits=20),
        lambda: read_secret_key(cut, key),
    ]
    for read in readers:
        with suppress(WireError):
            read()
