"""Encrypted linear models: equal to plain arithmetic, and what a dishonest or broken peer cannot do."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from gmpy2 import gcd, invert, mpz, powmod
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sfs_op_phe.building import encrypt_intercept, encrypt_weights
from sfs_op_phe.decrypt_peer_y import PheDecryptPeerY
from sfs_op_phe.dot_product import PheDotProduct, WeightedSums
from sfs_op_phe.matrices import (
    read_cipher_matrix,
    read_one_ciphertext,
    read_plain_matrix,
    write_cipher_matrix,
    write_plain_matrix,
)
from sfs_op_phe.merge_y import PheMergeY
from sfs_op_phe.reduce import PheReduce
from sfs_op_phe.wire import write_ciphertext, write_matrix

from sfs_core import Batch, Cluster, ErrorCode, FeatureError, GraphError, SfsError

from .conftest import SCALE, Parties, context, make, other

COLUMNS = {"result_col_name": "y", "rand_number_col_name": "rand"}


def dot_attributes(party, weights, parties, *, intercept=None, offset=False):
    names = [f"{party}{i}" for i in range(len(weights) + offset)]
    attributes = COLUMNS | {"feature_names": names, "feature_types": ["DT_DOUBLE"] * len(names)}
    key = parties.key(other(party))
    if weights:
        attributes["feature_weights_ciphertext"] = encrypt_weights(weights, SCALE, key)
    if intercept is not None:
        attributes["intercept_ciphertext"] = encrypt_intercept(intercept, SCALE, key)
    if offset:
        attributes["offset_col_name"] = names[-1]
    return attributes


def features(operator, matrix):
    schema = operator.input_schemas()[0]
    if not len(schema):
        return Batch(schema, len(matrix), [])
    return Batch.from_matrix(schema, np.array(matrix, np.float64).reshape(len(matrix), len(schema)))


class Model:
    """Both parties' operators; scores by the order in which a cluster runs them."""

    def __init__(self, parties: Parties, dots: dict[str, dict]) -> None:
        link = {"link_function": "LF_IDENTITY", "score_col_name": "s"}
        merge = link | {"decrypted_y_col_name": "d", "crypted_y_col_name": "y"}
        reduce = {"partial_y_col_name": "y", "rand_number_col_name": "rand"}
        self.dot = {p: parties.make(p, PheDotProduct, (), **dots[p]) for p in dots}
        self.for_peer = {p: parties.make(p, PheReduce, select_crypted_for_peer=True, **reduce) for p in dots}
        self.for_self = {p: parties.make(p, PheReduce, select_crypted_for_peer=False, **reduce) for p in dots}
        columns = {"partial_y_col_name": "y", "decrypted_col_name": "d"}
        self.decrypt = {p: parties.make(p, PheDecryptPeerY, **columns) for p in dots}
        self.merge = {p: parties.make(p, PheMergeY, ("d", "y"), **merge) for p in dots}

    def partials(self, requester, rows):
        return [
            self.dot[p].compute(context(p, requester), features(self.dot[p], rows[p]))
            for p in (requester, other(requester))
        ]

    def score(self, requester, rows):
        partials, own = self.partials(requester, rows), context(requester, requester)
        masked = self.for_peer[requester].compute(own, partials)
        kept = self.for_self[requester].compute(own, partials)
        peer = other(requester)
        decrypted = self.decrypt[peer].compute(context(peer, requester), masked)
        return self.merge[requester].compute(own, decrypted, kept).float64(0)


WEIGHTS = {"alice": [0.5, -1.25, 0.0], "bob": [3.0, -0.001]}


@pytest.fixture(scope="module")
def model(parties):
    dots = {
        "alice": dot_attributes("alice", WEIGHTS["alice"], parties, intercept=-0.75),
        "bob": dot_attributes("bob", WEIGHTS["bob"], parties, offset=True),
    }
    return Model(parties, dots)


def expected(rows):
    alice, bob = np.array(rows["alice"]), np.array(rows["bob"])
    return alice @ WEIGHTS["alice"] + bob[:, :2] @ WEIGHTS["bob"] + bob[:, 2] - 0.75


ROWS = {"alice": [[1.5, 2.0, -3.0], [0, 0, 0], [-1e6, 1e5, 7]], "bob": [[0.25, -4, 10], [0, 0, 0], [12345.678, 5, -2]]}


@pytest.mark.parametrize("requester", ["alice", "bob"])
def test_scores_are_those_of_plain_arithmetic(model, requester):
    np.testing.assert_allclose(model.score(requester, ROWS), expected(ROWS), rtol=1e-6, atol=1e-6)


def test_the_requester_decrypts_while_it_waits(model, monkeypatch):
    partials, own = model.partials("alice", ROWS), context("alice", "alice")
    kept = model.for_self["alice"].compute(own, partials)
    decrypted = model.decrypt["bob"].compute(context("bob", "alice"), model.for_peer["alice"].compute(own, partials))
    keyring = model.merge["alice"].keyring
    with monkeypatch.context() as patch:
        patch.setattr(keyring.secret, "decrypt", pytest.fail)
        scores = model.merge["alice"].compute(own, decrypted, kept).float64(0)
    np.testing.assert_allclose(scores, expected(ROWS), rtol=1e-6, atol=1e-6)
    again = model.merge["alice"].compute(own, decrypted, kept).float64(0)  # nothing is left of it
    assert again.tolist() == scores.tolist()
    for count in range(100):  # of requests that ended before
        keyring.begin_decrypting([keyring.own.power(count)])
    assert len(keyring._begun) == 64


def test_scores_with_paillier_keys(paillier_parties):
    dots = {p: dot_attributes(p, WEIGHTS[p], paillier_parties, offset=p == "bob") for p in ("alice", "bob")}
    model = Model(paillier_parties, dots)
    for requester in ("alice", "bob"):
        scores = model.score(requester, ROWS)
        np.testing.assert_allclose(scores, expected(ROWS) + 0.75, rtol=1e-6, atol=1e-6)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(*[st.floats(-1e9, 1e9)] * 6), min_size=1, max_size=4), st.sampled_from(["alice", "bob"]))
def test_scores_of_any_rows(model, rows, requester):
    table = {"alice": [row[:3] for row in rows], "bob": [row[3:] for row in rows]}
    largest = max(1.0, *(abs(x) for row in rows for x in row))
    np.testing.assert_allclose(model.score(requester, table), expected(table), rtol=1e-6, atol=1e-7 * largest)


def test_a_party_without_features_adds_the_intercept(parties):
    bob = dot_attributes("bob", WEIGHTS["bob"], parties)
    model = Model(parties, {"alice": dot_attributes("alice", [], parties, intercept=2.5), "bob": bob})
    rows = {"alice": [[], []], "bob": [[1, 1000], [-1, 0]]}
    for requester in ("alice", "bob"):
        np.testing.assert_allclose(model.score(requester, rows), [4.5, -0.5], atol=2e-5)


@pytest.mark.parametrize("memory", [0, 4_000_000, 1 << 30])
def test_sums_are_the_same_with_wide_tables_narrow_ones_and_none(small, memory):
    key = small.public
    weights = [3, -5, 2**40]
    residues = [key.leave(key.noise() * key.power(weight) % key.modulus) for weight in weights]
    rows = [[1, 255, 7], [-1, 2**33, 0], [0, -(2**31), 2**30]]
    sums = WeightedSums(residues, key, memory).of(rows)
    plain = [sum(w * x for w, x in zip(weights, row, strict=True)) for row in rows]
    assert small.decrypt([key.enter(s) for s in sums]) == plain


# ----------------------------------------------------------------- at load time
def test_nodes_that_cannot_work(parties):
    good = dot_attributes("alice", WEIGHTS["alice"], parties)
    bad = [
        ({"feature_names": ["a", "a", "b"]}, "holds a name twice", ErrorCode.LOGIC_ERROR),
        ({"feature_types": ["DT_DOUBLE"]}, "1 feature_types", ErrorCode.LOGIC_ERROR),
        ({"offset_col_name": "alice0"}, "not the last", ErrorCode.LOGIC_ERROR),
        ({"offset_col_name": "alice2"}, "3 x 1, there are 2 features", ErrorCode.LOGIC_ERROR),
        ({"feature_weights_ciphertext": b""}, "is missing", ErrorCode.UNEXPECTED_ERROR),
        (
            {"feature_weights_ciphertext": b"\x94\x03\x01\x01"},
            "more elements|end too early",
            ErrorCode.UNEXPECTED_ERROR,
        ),
    ]
    for change, message, code in bad:
        with pytest.raises(GraphError, match=message) as caught:
            make(PheDotProduct, (), **(good | change))
        assert caught.value.code == code


def test_weights_under_the_wrong_key_are_found(parties):
    """A party that could decrypt its own package's weights would know the model."""
    swapped = dot_attributes("bob", WEIGHTS["alice"], parties)
    found = "this party's own key|outside of its key's range"
    with pytest.raises(GraphError, match=f"feature_weights_ciphertext: .*({found})"):
        parties.make("alice", PheDotProduct, (), **swapped)
    intercept = dot_attributes("bob", [], parties, intercept=1.0)
    with pytest.raises(GraphError, match=f"intercept_ciphertext: .*({found})"):
        parties.make("alice", PheDotProduct, (), **intercept)


def test_weights_of_another_scheme_are_refused(parties, paillier_parties):
    foreign = dot_attributes("alice", WEIGHTS["alice"], paillier_parties)
    with pytest.raises(GraphError, match="scheme 4, the key is of scheme 1"):
        parties.make("alice", PheDotProduct, (), **foreign)


def test_weights_without_inverse_are_refused(parties):
    key = parties.key("bob")
    weights = write_cipher_matrix(2, 1, 1, [key.noise(), parties.secrets["bob"]._p], key)
    good = dot_attributes("alice", WEIGHTS["alice"][:2], parties)
    with pytest.raises(GraphError, match="feature_weights_ciphertext: a ciphertext has no inverse"):
        parties.make("alice", PheDotProduct, (), **(good | {"feature_weights_ciphertext": weights}))


def changed(good, **changes):
    fields = ("party", "parties", "public_keys", "secret_key", "encode_scale")
    return Cluster(**({name: getattr(good, name) for name in fields} | changes))


def test_clusters_that_cannot_serve(parties, paillier_parties):
    keys = parties.clusters["alice"].public_keys
    other_scheme = dict(keys, bob=paillier_parties.key("bob").to_bytes())
    bad = [
        ({"parties": ("alice", "bob", "carol")}, "for two parties"),
        ({"public_keys": {"alice": keys["alice"]}}, "party bob has no public key"),
        ({"public_keys": {"bob": keys["bob"]}}, "party alice has no public key"),
        ({"public_keys": {"alice": keys["alice"], "bob": keys["alice"]}}, "the same key pair"),
        ({"public_keys": dict(keys, bob=keys["bob"][:-9])}, "party bob: "),
        ({"public_keys": other_scheme}, "of scheme OU, bob's of ZPaillier"),
        ({"secret_key": b""}, "no secret key"),
        ({"secret_key": parties.secrets["bob"].to_bytes()}, "not that of the public key"),
        ({"secret_key": parties.secrets["alice"].to_bytes()[:-20]}, "party alice: "),
        ({"encode_scale": 0}, "encode_scale"),
        ({"encode_scale": 2**44}, "encode_scale"),
    ]
    operator = make(PheDotProduct, (), **dot_attributes("alice", WEIGHTS["alice"], parties))
    for change, message in bad:
        with pytest.raises(GraphError, match=message) as caught:
            operator.prepare(changed(parties.clusters["alice"], **change))
        assert parties.secrets["alice"].to_bytes().hex() not in repr(caught.value)


def test_secrets_do_not_show(parties):
    cluster_ = parties.clusters["alice"]
    shown = repr(cluster_) + str(cluster_)
    assert str(cluster_.secret_key)[2:30] not in shown
    assert "secret" not in shown


def test_unprepared_operators_say_so(parties):
    operator = make(PheDotProduct, (), **dot_attributes("alice", [], parties))
    with pytest.raises(SfsError, match="not agreed") as caught:
        operator.compute(context("alice", "alice"), features(operator, [[]]))
    assert caught.value.code == ErrorCode.NOT_READY


# --------------------------------------------------------------- bad features
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e25])
def test_features_that_cannot_be_encoded(model, value):
    rows = [[0, 0, 0], [0, value, 0]]
    with pytest.raises(FeatureError, match="column 'alice1', row 1"):
        model.dot["alice"].compute(context("alice", "alice"), features(model.dot["alice"], rows))


# --------------------------------------------------------------------- attacks
def test_masks_are_wide_and_fresh(model, parties):
    """Finding 3: 64 bits for all rows hide neither the size of scores nor their differences."""
    rows = [[1, 1, 1]] * 8
    for _ in range(2):
        own = model.dot["alice"].compute(context("alice", "alice"), features(model.dot["alice"], rows)).rows()[0]
        masks = read_plain_matrix(own[1]).items
        assert len(set(masks)) == 8
        assert max(abs(mask).bit_length() for mask in masks) > 180
        masked = read_cipher_matrix(own[0], parties.key("bob"))
        values = parties.secrets["bob"].decrypt(masked.items)
        assert len(set(values)) == 8
    theirs = model.dot["alice"].compute(context("alice", "bob"), features(model.dot["alice"], rows)).rows()[0]
    mask = read_one_ciphertext(theirs[1], parties.key("alice"))
    assert abs(parties.secrets["alice"].decrypt([mask])[0]).bit_length() > 150


def test_results_carry_fresh_randomness(parties):
    """Finding 2: who knows the randomness of the encrypted weights cannot confirm guesses of the features."""
    key, secret = parties.key("bob"), parties.secrets["bob"]
    attributes = dot_attributes("alice", [2.0], parties)
    weight = key.leave(read_cipher_matrix(attributes["feature_weights_ciphertext"], key).items[0])
    known = weight * invert(key.power(2 * SCALE), key.n) % key.n  # H^r, which bob chose
    operator = parties.make("alice", PheDotProduct, (), **attributes)
    result = operator.compute(context("alice", "alice"), features(operator, [[42.0]])).rows()[0][0]
    (item,) = read_cipher_matrix(result, key).items
    (value,) = secret.decrypt([item])
    rest = key.leave(item) * invert(powmod(key.g, value, key.n), key.n) % key.n
    assert rest != powmod(known, 42 * 10**6, key.n)
    assert powmod(rest, secret._t, secret._p**2) == 1  # it is noise, though


def test_decryption_gives_nothing_of_the_key_away(model, parties):
    """Finding 1: M > p comes back modulo p, and gcd(M - reply, n) is p."""
    key = parties.key("bob")
    for bits in (690, 700, 1200):
        chosen = powmod(key.g, mpz(1) << bits, key.n)
        attack = Batch.from_rows(
            model.decrypt["bob"].input_schemas()[0], [(write_cipher_matrix(1, 1, 2, [key.enter(chosen)], key),)]
        )
        with pytest.raises(SfsError, match="out of range") as caught:
            model.decrypt["bob"].compute(context("bob", "alice"), attack)
        assert caught.value.code == ErrorCode.INVALID_ARGUMENT
        value = parties.secrets["bob"].decrypt([key.enter(chosen)])[0]
        assert gcd((mpz(1) << bits) - value, key.n) == parties.secrets["bob"]._p  # it would have worked
        assert str(value)[:12] not in str(caught.value)


def test_ciphertexts_of_another_digit_size_are_named_to_their_owner(model, parties):
    """HEU's libraries write the same number in different forms, which the bytes do not tell."""
    key = parties.key("bob")
    foreign = key.power(12345) * (mpz(1) << 64 * -(-key.n.bit_length() // 64)) % key.n
    table = Batch.from_rows(model.decrypt["bob"].input_schemas()[0], [(write_cipher_matrix(1, 1, 2, [foreign], key),)])
    with pytest.raises(SfsError, match="out of range") as caught:
        model.decrypt["bob"].compute(context("bob", "alice"), table)
    assert "set `digit_bits: 64` at this party" in caught.value.detail
    assert "64" not in str(caught.value)


def test_only_the_requester_s_peer_decrypts(model, parties):
    key = parties.key("bob")
    data = write_cipher_matrix(1, 1, 2, [key.noise()], key)
    table = Batch.from_rows(model.decrypt["bob"].input_schemas()[0], [(data,)])
    with pytest.raises(GraphError, match="it runs not at the party that was asked"):
        model.decrypt["bob"].compute(context("bob", "bob"), table)


def with_cell(batch, column, value):
    (row,) = batch.rows()
    return Batch.from_rows(batch.schema, [(*row[:column], value, *row[column + 1 :])])


def test_tables_of_the_wrong_parties(model):
    own, theirs = model.partials("alice", ROWS)
    alice = context("alice", "alice")
    for tables in ([own], [own, own], [own, with_cell(theirs, 2, "carol")], [own, theirs, theirs]):
        with pytest.raises(GraphError, match="one table of each of the two parties"):
            model.for_peer["alice"].compute(alice, tables)
    with pytest.raises(GraphError, match="it runs only at the party that was asked"):
        model.for_peer["alice"].compute(context("alice", "bob"), [own, theirs])


def test_peer_s_cells_that_do_not_fit(model, parties):
    own, theirs = model.partials("alice", ROWS)
    alice, key = context("alice", "alice"), parties.key("alice")
    good = theirs.rows()[0][0]
    bob_key = parties.key("bob")
    bad = {
        "end too early": good[:-1],
        "bytes too many": good + b"\0",
        "no array": b"\0" + good,
        "outside of its key's range": write_matrix(3, 1, 2, [write_ciphertext(key.modulus, 1)] * 3),
        "scheme 4": write_matrix(3, 1, 2, [write_ciphertext(mpz(5), 4)] * 3),
        "2 x 1, 3 x 1 is needed": write_cipher_matrix(2, 1, 2, [key.noise()] * 2, key),
        "3 x 2, 3 x 1 is needed": write_cipher_matrix(3, 2, 2, [key.noise()] * 6, key),
    }
    for message, data in bad.items():
        with pytest.raises(SfsError, match=message):
            model.for_self["alice"].compute(alice, [own, with_cell(theirs, 0, data)])
    for data in (b"", b"\x91", write_cipher_matrix(2, 1, 2, [bob_key.noise()] * 2, bob_key)):
        with pytest.raises(SfsError, match="column 'rand' of bob"):
            model.for_peer["alice"].compute(alice, [own, with_cell(theirs, 1, data)])


def test_sums_whose_masks_do_not_cancel(model):
    """A peer that decrypts wrongly, or another request's numbers, gives an error and no score."""
    alice, bob = context("alice", "alice"), context("bob", "alice")
    first, second = model.partials("alice", ROWS), model.partials("alice", ROWS)
    decrypted = model.decrypt["bob"].compute(bob, model.for_peer["alice"].compute(alice, first))
    kept = model.for_self["alice"].compute(alice, second)
    with pytest.raises(SfsError, match="out of range"):
        model.merge["alice"].compute(alice, decrypted, kept)
    short = with_cell(decrypted, 0, write_plain_matrix(1, 1, 2, [0]))
    with pytest.raises(GraphError, match="1 x 1, 3 x 1 is needed"):
        model.merge["alice"].compute(alice, short, kept)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_tables_give_errors_or_numbers(model, damaged_inputs, data):
    kept, decrypted = damaged_inputs
    which = data.draw(st.booleans())
    cell = bytearray((kept if which else decrypted).rows()[0][0])
    for _ in range(data.draw(st.integers(1, 3))):
        cell[data.draw(st.integers(0, len(cell) - 1))] = data.draw(st.integers(0, 255))
    alice = context("alice", "alice")
    tables = (decrypted, with_cell(kept, 0, bytes(cell))) if which else (with_cell(decrypted, 0, bytes(cell)), kept)
    with suppress(SfsError):
        assert model.merge["alice"].compute(alice, *tables).num_rows == 3


@pytest.fixture(scope="module")
def damaged_inputs(model):
    alice = context("alice", "alice")
    partials = model.partials("alice", ROWS)
    decrypted = model.decrypt["bob"].compute(context("bob", "alice"), model.for_peer["alice"].compute(alice, partials))
    return model.for_self["alice"].compute(alice, partials), decrypted
