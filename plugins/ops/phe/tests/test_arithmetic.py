"""Keys, powers and fixed-point numbers against plain integers."""

from __future__ import annotations

import pickle
import time
from collections import Counter

import numpy as np
import pytest
from gmpy2 import gcd, invert, jacobi, mpz, powmod
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sfs_op_phe.keys import KeyFormatError
from sfs_op_phe.numbers import check_scale, decode, encode
from sfs_op_phe.okamoto_uchiyama import OuPublicKey, OuSecretKey, generate_ou_keys, random_zeros
from sfs_op_phe.paillier import PaillierPublicKey
from sfs_op_phe.powers import FixedBase, begin_equal_powers, inverses, product_of_powers
from sfs_op_phe.schemes import read_public_key, read_secret_key
from sfs_op_phe.stock import Stock
from sfs_op_phe.wire import WireError, tagged

from sfs_core import FeatureError, GraphError, SfsError

MODULUS = mpz(2**127 - 1) * mpz(2**89 - 1)
numbers = st.integers(-(2**100), 2**100)
few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


# ------------------------------------------------------------------------ keys
def encrypt(key, message):
    return key.noise() * key.power(message) % key.modulus


@few
@given(numbers)
def test_messages_come_back(small, message):
    key = small.public
    assert small.decrypt([encrypt(key, message)]) == [message]


@few
@given(numbers, numbers, st.integers(-(2**40), 2**40))
def test_sums_and_multiples_are_those_of_the_messages(small, a, b, factor):
    key = small.public
    first, second = encrypt(key, a), encrypt(key, b)
    added = first * key.leave(second) % key.modulus
    plain = first * key.power(b) % key.modulus
    multiple = key.enter(powmod(key.leave(first), factor, key.modulus))
    negated = key.enter(invert(key.leave(first), key.modulus))
    assert small.decrypt([added, plain, multiple, negated]) == [a + b, a + b, a * factor, -a]


def test_extremes(small):
    key = small.public
    half = int(key.limit) if isinstance(key, OuPublicKey) else int(key.n - 1) // 2
    assert small.decrypt([encrypt(key, m) for m in (0, half, -half)]) == [0, half, -half]
    for message in (int(key.limit) + 1, -int(key.limit) - 1):
        with pytest.raises(SfsError, match="too large for the encryption key"):
            key.power(message)


def test_keys_come_back(small):
    bits = small.public.n.bit_length()
    public = read_public_key(small.public.to_bytes(), least_bits=bits)
    secret = read_secret_key(small.to_bytes(), public)
    assert public.to_bytes() == small.public.to_bytes()
    assert secret.to_bytes() == small.to_bytes()
    assert secret.decrypt([encrypt(public, -7)]) == [-7]


def test_encryptions_differ(small):
    assert len({encrypt(small.public, 1) for _ in range(50)}) == 50


def test_own_encryptions_of_zero_are_all_that_the_key_s_h_could_be():
    p, q, t, u, form = map(mpz, (23, 29, 11, 2, 64))
    n = p * p * q
    every = {form * powmod(g, n * u, n) % n for g in range(1, int(n)) if gcd(g, n) == 1}
    h = next(h for h in (powmod(g, n * u, p * p) for g in range(2, 20)) if h != 1)
    zeros = random_zeros(h, t, p * p, q, gcd(n * u, q - 1), form, 5000)
    drawn = Counter(zero for zero in zeros if zero % q)  # 0 modulo q never comes with a q of some length
    assert drawn.keys() == every
    assert len(every) == 11 * 14
    expected = drawn.total() / len(every)
    assert sum((count - expected) ** 2 / expected for count in drawn.values()) < 330  # chance of more: 10^-14


def test_own_encryptions_of_zero(small):
    zeros = small.noises(20)
    assert len(set(zeros)) == 20
    assert small.decrypt(zeros) == [0] * 20
    if isinstance(small, OuSecretKey):  # whatever else is modulo p^2 would tell of the key
        assert {powmod(small.public.leave(zero), small._t, small._square) for zero in zeros} == {1}
        assert all(0 < zero < small.public.n for zero in zeros)
        # What anybody can see of a residue's remainder modulo q: its Jacobi symbol, as n is p^2 q.
        public = small.public
        assert {jacobi(public.leave(zero), public.n) for zero in [*zeros, *public.noises(20)]} == {1}
        assert jacobi(public.g, public.n) == 1


@pytest.mark.parametrize("digit_bits", [60, 64])
def test_digit_size_of_the_wire_form(digit_bits):
    """Ciphertexts of another digit size decrypt to numbers of the key's size, which the operators refuse."""
    secret = generate_ou_keys(768)
    key = read_public_key(secret.public.to_bytes(), digit_bits, least_bits=700)
    digits = -(-key.n.bit_length() // digit_bits)
    assert key.enter(mpz(1)) == (mpz(1) << digits * digit_bits) % key.n
    (wrong,) = secret.decrypt([key.enter(key.power(5)) * 2 % key.n])
    assert wrong.bit_length() > 200


def test_sizes_of_2048_bit_keys(parties, paillier_parties):
    for secret in parties.secrets.values():
        assert 2051 <= secret.public.n.bit_length() <= 2054
        assert 682 <= secret.public.max_bits <= 684
        assert 790 <= len(secret.public.to_bytes()) <= 795
    for secret in paillier_parties.secrets.values():
        assert secret.public.n.bit_length() in (2047, 2048)


def test_secret_keys_show_nothing(small):
    numbers = [str(part) for part in (small._p, small._q)]
    shown = repr(small) + str(small) + repr(small.public)
    assert not any(number in shown for number in numbers)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(small)


def with_numbers(cls, **numbers):
    """A key that no constructor would make."""
    key = object.__new__(cls)
    for name, number in numbers.items():
        setattr(key, name, number)
    return key.to_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda key: {"n": key.n + 1}, "do not belong"),
        (lambda key: {"n": key.n >> 200 | 1}, "bits; 2000 to 8192"),
        (lambda key: {"n": key.n << 7000 | 1}, "bits; 2000 to 8192"),
        (lambda key: {"g": mpz(1)}, "do not belong"),
        (lambda key: {"g": key.n + 5}, "do not belong"),
        (lambda key: {"h": mpz(0)}, "do not belong"),
        (lambda key: {"h": mpz(1)}, "do not belong"),
        (lambda key: {"h": key.n - 1}, "do not belong"),
        (lambda key: {"max_bits": 0}, "cannot encrypt"),
        (lambda key: {"max_bits": 800}, "cannot encrypt"),
    ],
)
def test_public_keys_that_protect_nothing(parties, change, message):
    key = parties.key("alice")
    numbers = {"n": key.n, "g": key.g, "h": key.h, "max_bits": key.max_bits} | change(key)
    with pytest.raises(KeyFormatError, match=message):
        read_public_key(with_numbers(OuPublicKey, **numbers))


def test_paillier_keys_that_protect_nothing(paillier_parties):
    key = paillier_parties.key("alice")
    for n, hs in ((key.n + 1, key.hs), (key.n, mpz(1)), (key.n, key.n), (key.n, key.n**2 - 1), (key.n >> 90, key.hs)):
        with pytest.raises(KeyFormatError):
            read_public_key(with_numbers(PaillierPublicKey, n=n, hs=hs))


def test_secret_key_of_another_public_key(parties, paillier_parties):
    alice, bob = parties.secrets["alice"], parties.secrets["bob"]
    with pytest.raises(KeyFormatError, match="not that of the public key"):
        read_secret_key(alice.to_bytes(), bob.public)
    with pytest.raises(WireError, match="another scheme"):
        read_secret_key(alice.to_bytes(), paillier_parties.key("alice"))
    with pytest.raises(KeyFormatError, match="not that of the public key"):
        read_secret_key(paillier_parties.secrets["alice"].to_bytes(), paillier_parties.key("bob"))


def test_secret_key_whose_encryptions_would_not_be_random():
    good = generate_ou_keys(768)
    h = good._square * 2 + 1  # its powers are 1 modulo p^2, where messages are
    public = OuPublicKey(good.public.n, good.public.g, h, good.public.max_bits)
    with pytest.raises(KeyFormatError, match="does not decrypt"):
        OuSecretKey(good._p, good._q, good._t, public)


@pytest.mark.parametrize(
    ("scheme", "name"), [(0, "mock"), (2, "IPCL"), (5, "FPaillier"), (11, "Damgard"), (99, "unkn")]
)
def test_other_schemes_are_refused_by_name(scheme, name):
    with pytest.raises(WireError, match=f"scheme .*{name}"):
        read_public_key(tagged(b"\x90", scheme))


# ---------------------------------------------------------------------- powers
@settings(max_examples=100, deadline=None)
@given(st.integers(2, int(MODULUS) - 1), st.integers(0, 2**80), st.integers(1, 8), st.sampled_from([4, 8]))
def test_powers_by_table(base, exponent, num_bytes, width):
    table = FixedBase(mpz(base), MODULUS, num_bytes, width)
    assert table(exponent) == powmod(base, exponent, MODULUS)
    assert table.times_power(mpz(3), exponent) == 3 * powmod(base, exponent, MODULUS) % MODULUS


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(2, 10**9), st.integers(-(2**130), 2**130)), max_size=20), st.integers(1, 9))
def test_products_of_powers(pairs, copies):
    pairs *= copies
    expected = mpz(1)
    for base, exponent in pairs:
        expected = expected * powmod(base, exponent, MODULUS) % MODULUS
    bases, exponents = [mpz(base) for base, _ in pairs], [exponent for _, exponent in pairs]
    assert product_of_powers(bases, exponents, MODULUS) == expected
    assert [invert(base, MODULUS) for base in bases] == inverses(bases, MODULUS)


@pytest.mark.parametrize("count", [0, 1, 7, 100])
def test_equal_powers_keep_their_order(count):
    bases = [mpz(base) for base in range(2, 2 + count)]
    assert begin_equal_powers(bases, mpz(12345), MODULUS)() == [powmod(base, 12345, MODULUS) for base in bases]


@pytest.mark.parametrize(
    "exponents", [[0, 0], [5] * 40, [2**130, 1], [2**130, 3, 0, -1], [-(2**64), 2**64], [2**i for i in range(128)]]
)
def test_products_of_powers_of_unlike_lengths(exponents):
    bases = [mpz(3 + i) for i in range(len(exponents))]
    expected = mpz(1)
    for base, exponent in zip(bases, exponents, strict=True):
        expected = expected * powmod(base, exponent, MODULUS) % MODULUS
    assert product_of_powers(bases, exponents, MODULUS) == expected


def test_what_has_no_inverse_is_an_error_of_its_own():
    with pytest.raises(ZeroDivisionError):
        inverses([mpz(5), mpz(2**89 - 1)], MODULUS)
    with pytest.raises(ZeroDivisionError):
        product_of_powers([mpz(5), mpz(2**89 - 1)], [1, -1], MODULUS)
    assert inverses([], MODULUS) == []


# --------------------------------------------------------------------- numbers
@given(st.lists(st.floats(-1e12, 1e12), min_size=1), st.sampled_from([10**6, 2**26, 2**40]))
def test_encoding_cuts_towards_zero(values, scale):
    matrix = np.array(values).reshape(-1, 1)
    assert encode(matrix, scale, ["x"]) == [[int(value * float(scale))] for value in values]


@pytest.mark.parametrize(
    ("value", "message"),
    [(float("nan"), "not finite"), (-float("inf"), "not finite"), (1e300, "too large"), (1e20, "too large")],
)
def test_values_that_cannot_be_encoded(value, message):
    with pytest.raises(FeatureError, match=f"column 'age', row 1: the value is {message}") as caught:
        encode(np.array([[1.0, 2.0], [3.0, value]]), 10**6, ["x", "age"])
    assert "e+" not in str(caught.value)


def test_any_64_bit_integer_can_be_a_feature():
    assert encode(np.array([[2.0**64, -(2.0**63)]]), 10**6, ["x", "y"]) == [[2**64 * 10**6, -(2**63) * 10**6]]


@given(st.integers(-(2**53), 2**53), st.integers(1, 2**40))
def test_decoding_divides(number, scale):
    assert decode([number], scale)[0] == number / scale


def test_long_integers_become_doubles_digit_by_digit():
    high = 2**53 - 2 << 60
    number = high + (1 << 59) + 1  # rounding it at once would round up
    assert decode([number, -number], 1).tolist() == [float(high), -float(high)]


@pytest.mark.parametrize("scale", [0, -1, 2**63 // 10**6, 2**44])
def test_scales_beyond_64_bits_are_refused(scale):
    with pytest.raises(GraphError, match="encode_scale"):
        check_scale(scale)


# ----------------------------------------------------------------------- noise
def test_stock_fills_while_idle_and_gives_each_value_once(small):
    stock = Stock(small.public.noises, 40)
    while len(stock) < 40:
        pass
    taken = stock.take(25) + stock.take(25)
    assert len(set(taken)) == 50
    assert small.decrypt(taken) == [0] * 50


def test_a_stock_that_is_filled_beside_requests_does_not_wait_until_there_are_none(small):
    stock = Stock(small.public.noises, 40, make_ahead=small.public.noises)
    deadline = time.monotonic() + 120
    while len(stock) < 20:  # what is taken all the time
        stock.take(1)
        assert time.monotonic() < deadline
        time.sleep(0.001)
