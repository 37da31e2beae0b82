"""Packed leaves of encrypted trees: scores as of the plain form, and what a dishonest peer cannot do."""

from __future__ import annotations

import random
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sfs_op_phe.config import PheConfig
from sfs_op_phe.keyring import keyring_of
from sfs_op_phe.leaf_slots import LeafSlots
from sfs_op_phe.matrices import CipherItems, read_cipher_matrix, write_cipher_matrix, write_plain_matrix
from sfs_op_phe.packing import EXTENSION, read_packed, write_packed

from sfs_core import Batch, SfsError

from .conftest import SCALE, Parties, context
from .test_linear import with_cell
from .test_trees import Ensemble, Tree, expected, merge, random_rows

SLOTS = LeafSlots(682, SCALE)


@pytest.fixture(scope="module")
def ensemble(packing):
    return Ensemble(packing, [Tree(6, 2), Tree(6, 8)])


def cell(batch, column=0):
    return batch.rows()[0][column]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("requester", ["alice", "bob"])
@pytest.mark.parametrize("count", [1, 2, 6])
def test_scores_equal_those_of_the_plain_form(parties, packing, requester, fused, count):
    trees, rows = [Tree(n, seed) for seed, n in enumerate((8, 2, 5, 1))], random_rows(count)
    scores = Ensemble(packing, trees).score(requester, rows, fused=fused)
    np.testing.assert_allclose(scores, expected(trees, rows), atol=1e-6)
    if count == 6:
        assert scores.tolist() == Ensemble(parties, trees).score(requester, rows, fused=fused).tolist()


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=3),
    st.integers(1, 7),
    st.integers(0, 10**6),
    st.sampled_from(["alice", "bob"]),
)
def test_random_ensembles(packing, sizes, count, seed, requester):
    trees, rows = [Tree(n, seed + i) for i, n in enumerate(sizes)], random_rows(count, seed)
    scores = Ensemble(packing, trees).score(requester, rows, fused=True)
    np.testing.assert_allclose(scores, expected(trees, rows), atol=1e-6)


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("requester", ["alice", "bob"])
def test_a_party_that_knows_nothing_of_the_tree(packing, requester, count):
    trees, rows = [Tree(6, 3, owners=("bob",)), Tree(3, 4, owners=("bob",))], random_rows(count)
    scores = Ensemble(packing, trees, empty="alice").score(requester, rows, fused=True)
    np.testing.assert_allclose(scores, expected(trees, rows), atol=1e-6)


def test_scores_with_paillier_keys(paillier_parties):
    packing = Parties(paillier_parties.secrets, frozenset({EXTENSION}))
    trees = [Tree(5, 1)]
    ensemble = Ensemble(packing, trees)
    for count in (1, 3):
        rows = random_rows(count)
        np.testing.assert_allclose(ensemble.score("alice", rows, fused=True), expected(trees, rows), atol=1e-6)


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("share", [0, -1, 2**127 - 1, -(2**127)])
def test_extreme_shares_and_weights(packing, count, share):
    """The other party's share is what is left; weights are as large as sums may be, of either sign."""
    most = 2**25 - 1
    tree, rows = Tree(4, 5), random_rows(count)
    tree.weights = [most, -most, 0.0, 2.0**-26]
    whole = [round(weight * SCALE) for weight in tree.weights]
    tree.shards = {
        "alice": write_plain_matrix(4, 1, 2, [share] * 4),
        "bob": write_plain_matrix(4, 1, 2, [weight - share for weight in whole]),
    }
    scores = Ensemble(packing, [tree]).score("alice", rows, fused=True)
    np.testing.assert_allclose(scores, expected([tree], rows), rtol=1e-15)


def test_sums_that_are_too_large_give_no_score(packing):
    tree = Tree(4, 5)
    tree.weights = [2.0**27] * 4
    half = write_plain_matrix(4, 1, 2, [2**26 * SCALE] * 4)
    tree.shards = {"alice": half, "bob": half}
    for count in (1, 5):
        with pytest.raises(SfsError, match="out of range"):
            Ensemble(packing, [tree]).score("alice", random_rows(count), fused=True)


def test_fewer_ciphertexts_travel(parties, packing):
    """A third for one row, a fifth for five."""
    tree = Tree(32, 4)
    for count, share in ((1, 3), (5, 5), (10, 5)):
        rows = random_rows(count)
        plain, packed = (Ensemble(each, [tree]).selects("alice", rows)[0][0] for each in (parties, packing))
        sizes = [sum(len(each) for each in table.rows()[0][:2]) for table in (plain, packed)]
        assert sizes[1] < 1.2 * sizes[0] / share


# ------------------------------------------------------------------------------------------------------- arithmetic
def simulate(slots, num_rows, selected, shares, own, theirs, masks):
    """What the requester decrypts, in plain numbers.

    Args:
        selected: by row and leaf whether the requester leaves it.
        shares: the requester's, by leaf.
        own: by row and leaf whether the other party leaves it.
        theirs: the other party's shares.
        masks: by row.
    """
    shape = slots.shape(num_rows)
    bits, weights = {}, {}
    for row in range(num_rows):
        for leaf, share in enumerate(shares):
            place, shift = shape.place(leaf, row), slots.bits * shape.slot(leaf, row)
            bits[place] = bits.get(place, 0) + (selected[row][leaf] << shift)
            weights[place] = weights.get(place, 0) + (selected[row][leaf] * share << shift)
    numbers = []
    for row in range(num_rows):
        total = 0
        for position in range(shape.leaves):
            total <<= shape.step_bits
            for leaf in range(position, len(shares), shape.leaves):
                if own[row][leaf]:
                    place = shape.place(leaf, row)
                    total += bits[place] * theirs[leaf] + weights[place]
        numbers.append(total + masks[row])
    return numbers


@pytest.mark.parametrize("capacity", [682, 683, 1022, 2046])
@pytest.mark.parametrize("scale", [1, 1 << 26, 1 << 40, 2**43 - 1])
@pytest.mark.parametrize("num_rows", [1, 2, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("largest", [True, False])
def test_nothing_reaches_the_wanted_slot(capacity, scale, num_rows, largest):
    """With the most leaves, all of them left, the longest shares, and the masks of all trees, the longest or none."""
    slots, num_trees, num_leaves = LeafSlots(capacity, scale), 255, 60
    for _ in range(num_trees):
        slots.add_tree(128)
    assert slots.apply()
    shape, top = slots.shape(num_rows), slots.modulus - 1
    all_left = [[True] * num_leaves] * num_rows
    factor = 255 * 128 // num_leaves  # as if there were so many leaves
    garbage = simulate(
        slots, num_rows, all_left, [top * factor] * num_leaves, all_left, [top * factor] * num_leaves, [0] * num_rows
    )
    used = slots.bits * (2 * shape.leaves - 1) * shape.rows
    for row, number in enumerate(garbage):
        wanted = slots.bits * shape.wanted(row)
        below = (1 << max(wanted - slots.spare_bits, 0)) - 1 if largest and wanted else 0
        above = (1 << (used - slots.spare_bits - wanted - slots.modulus_bits)) - 1 if largest else 0
        masked = number + num_trees * (below + (above << wanted + slots.modulus_bits))
        assert masked.bit_length() <= used <= capacity
        assert (masked - number) >> wanted & top == 0  # masks leave it as it is
        assert masked >> wanted & top == 2 * num_leaves * top * factor & top  # and so does the garbage
        hidden = number & ((1 << wanted) - 1)
        if wanted:
            assert wanted - slots.spare_bits - hidden.bit_length() >= 40
        assert used - slots.spare_bits - number.bit_length() >= 40 or shape.wanted(row) == used // slots.bits - 1


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 8), st.integers(1, 9), st.integers(0, 2**40))
def test_sums_of_any_selection(num_rows, num_leaves, seed):
    """One leaf is left by both parties."""
    slots, draw = LeafSlots(682, SCALE), random.Random(seed)
    slots.add_tree(num_leaves)
    shape = slots.shape(num_rows)
    common = [draw.randrange(num_leaves) for _ in range(num_rows)]
    selected = [[draw.random() < 0.5 or leaf == each for leaf in range(num_leaves)] for each in common]
    own = [
        [leaf == each or (draw.random() < 0.5 and not chosen) for leaf, chosen in enumerate(left)]
        for left, each in zip(selected, common, strict=True)
    ]
    weights = [draw.randrange(-(2**52), 2**52) for _ in range(num_leaves)]
    shares = [draw.choice([0, slots.modulus - 1, draw.randrange(slots.modulus)]) for _ in weights]
    theirs = [(weight - share) % slots.modulus for weight, share in zip(weights, shares, strict=True)]
    masks = [shape.mask(row) for row in range(num_rows)]
    numbers = simulate(slots, num_rows, selected, shares, own, theirs, masks)
    assert slots.read_sums(numbers, "sum") == [weights[leaf] for leaf in common]


def test_ensembles_that_are_too_large_are_not_packed():
    slots = LeafSlots(682, SCALE)
    for _ in range(300):
        slots.add_tree(32)
    assert slots.apply()
    for _ in range(300):
        slots.add_tree(64)
    assert not slots.apply()
    assert not LeafSlots(0, SCALE).possible


def test_operators_with_options_of_their_own_count_the_same_leaves(packing):
    cluster = packing.clusters["alice"]
    first, second = (keyring_of(cluster, PheConfig(workers=0, noise_stock=stock)) for stock in (0, 1))
    assert first is not second
    assert first.leaves is second.leaves


# ---------------------------------------------------------------------------------------------------------- attacks
@pytest.mark.parametrize("count", [1, 5])
def test_the_requester_sees_sums_alone(packing, ensemble, count):
    """The rest of what it decrypts is random: differs from one request to the next, and fills its whole length."""
    rows = {p: random_rows(1)[p] * count for p in ("alice", "bob")}
    secret, shape = packing.secrets["alice"], SLOTS.shape(count)
    seen = []
    for _ in range(4):
        tables = ensemble.selects("alice", rows)[0]
        matrix = read_packed(cell(merge(ensemble, tables)), SLOTS.bits, 1).parts[0]
        seen.append(secret.decrypt(read_cipher_matrix(matrix, secret.public).items))
    used = SLOTS.bits * (2 * shape.leaves - 1) * shape.rows
    for row, numbers in enumerate(zip(*seen, strict=True)):
        wanted = SLOTS.bits * shape.wanted(row)
        assert len({number >> wanted + SLOTS.modulus_bits for number in numbers}) == 4
        assert max(number.bit_length() for number in numbers) > used - 20
        below = {number & ((1 << wanted) - 1) for number in numbers}
        assert len(below) == 4 or not wanted
        assert not wanted or max(number.bit_length() for number in below) > wanted - 20
        assert len({number >> wanted & (SLOTS.modulus - 1) for number in numbers}) == 1


@pytest.mark.parametrize("count", [1, 5])
def test_every_ciphertext_has_noise_of_its_own(ensemble, packing, count):
    rows = {p: random_rows(1)[p] * count for p in ("alice", "bob")}
    own, theirs = ensemble.selects("alice", rows)[0]
    key, secret = packing.key("alice"), packing.secrets["alice"]
    sent = [read_packed(cell(own, 0), SLOTS.bits, 2).parts[0], read_packed(cell(own, 1), SLOTS.bits, 1).parts[0]]
    sent.append(read_packed(cell(merge(ensemble, [own, theirs])), SLOTS.bits, 1).parts[0])
    noises = set()
    for matrix in sent:
        items = read_cipher_matrix(matrix, key).items
        found = {key.leave(i) * key.power(-m) % key.n for i, m in zip(items, secret.decrypt(items), strict=True)}
        assert len(found) == len(items)
        noises |= found
    assert 1 not in noises
    assert len(noises) == sum(len(read_cipher_matrix(matrix, key).items) for matrix in sent)


ROWS = random_rows(3)


def test_peer_s_cells_that_do_not_fit(ensemble, packing, parties):
    own, theirs = ensemble.selects("alice", ROWS)[0]
    key = packing.key("alice")
    bits, (matrix, columns) = read_packed(cell(own, 0), SLOTS.bits, 2)[0], read_packed(cell(own, 0), SLOTS.bits, 2)[1]
    small = write_cipher_matrix(1, 2, 2, [key.noise()] * 2, key)
    plain = Ensemble(parties, ensemble.trees).selects("alice", ROWS)[0][0]
    far = columns[:-4] + b"\xff\xff\xff\xff"
    assert bits == 3
    for column, message, bad in (
        (0, "not packed", cell(plain, 0)),
        (1, "not packed", cell(plain, 1)),
        (0, "1 x 2, 1 x .* is needed", write_packed(3, SLOTS.bits, small, columns)),
        (1, "1 x 2, 1 x 6 is needed", write_packed(3, SLOTS.bits, small)),
        (1, "packed 4 rows, there are 3", write_packed(4, SLOTS.bits, small)),
        (0, "slots of 7 bits, here they have 136", write_packed(3, 7, matrix, columns)),
        (0, "does not tell where each leaf is", write_packed(3, SLOTS.bits, matrix, columns[:-1])),
        (0, "is needed", write_packed(3, SLOTS.bits, matrix, far)),
        (1, "not packed", b""),
    ):
        with pytest.raises(SfsError, match=message):
            merge(ensemble, [with_cell(own, column, bad), theirs])
    # what a peer that had not agreed would answer with
    total = Batch.from_rows(ensemble.predict["alice"].input_schemas()[0], [(small,)])
    with pytest.raises(SfsError, match="not packed"):
        ensemble.predict["alice"].compute(context("alice", "alice"), total)
    assert CipherItems(matrix, key).rows == 1


def test_shares_that_do_not_cancel(packing):
    """Packages of different exports: an error instead of a score."""
    tree = Tree(4, 5)
    tree.shards["bob"] = Tree(4, 5).shards["bob"]
    for count in (1, 4):
        with pytest.raises(SfsError, match="out of range"):
            Ensemble(packing, [tree]).score("alice", random_rows(count), fused=True)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_tables_give_errors_or_tables(ensemble, tables, data):
    own, theirs, total = tables
    column = data.draw(st.sampled_from([0, 1, 2]))
    bad = bytearray(cell(own, column) if column < 2 else cell(total))
    for _ in range(data.draw(st.integers(1, 3))):
        bad[data.draw(st.integers(0, len(bad) - 1) | st.integers(0, 30))] = data.draw(st.integers(0, 255))
    with suppress(SfsError):
        if column < 2:
            assert merge(ensemble, [with_cell(own, column, bytes(bad)), theirs]).num_rows == 1
        else:
            predict = ensemble.predict["alice"]
            assert predict.compute(context("alice", "alice"), with_cell(total, 0, bytes(bad))).num_rows == 1


@pytest.fixture(scope="module")
def tables(ensemble):
    own, theirs = ensemble.selects("alice", {p: rows[:1] for p, rows in ROWS.items()})[0]
    merged = merge(ensemble, [own, theirs])
    return own, theirs, Batch.from_rows(ensemble.predict["alice"].input_schemas()[0], merged.rows())
