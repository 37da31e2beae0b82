"""Encrypted tree ensembles: equal to plain trees, and what a dishonest or broken peer cannot do."""

from __future__ import annotations

import random
from contextlib import suppress

import numpy as np
import pytest
from gmpy2 import mpz
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sfs_op_phe.building import share_leaf_weights
from sfs_op_phe.matrices import read_cipher_matrix, write_cipher_matrix, write_plain_matrix
from sfs_op_phe.tree_ensemble import PheTreeEnsembleMerge, PheTreeEnsemblePredict
from sfs_op_phe.tree_merge import PheTreeMerge
from sfs_op_phe.tree_select import PheTreeSelect
from sfs_op_phe.wire import WireError, read_matrix, write_ciphertext, write_matrix

from sfs_core import Batch, ErrorCode, ExecutionView, GraphError, SfsError

from .conftest import SCALE, context, make, other
from .test_linear import features, with_cell

COLUMNS = {"select_col_name": "select", "weight_shard_col_name": "share"}
NUM_FEATURES = 3


class Tree:
    """A random tree; each split belongs to one of the owners, whose features decide."""

    def __init__(self, num_leaves, seed, owners=("alice", "bob")):
        draw = random.Random(seed)
        self.splits, self.leaves = {}, [0]
        count = 1
        while len(self.leaves) < num_leaves:
            node = self.leaves.pop(draw.randrange(len(self.leaves)))
            self.splits[node] = (draw.choice(owners), draw.randrange(NUM_FEATURES), draw.uniform(-1, 1), count)
            self.leaves += [count, count + 1]
            count += 2
        self.count = count
        self.weights = [draw.uniform(-1, 1) for _ in self.leaves]
        self.shards = dict(zip(("alice", "bob"), share_leaf_weights(self.weights, SCALE), strict=True))

    def attributes(self, party, *, empty=False):
        nodes = [] if empty else range(self.count)
        own = [self.splits.get(node, ("", -1, 0.0, 0)) for node in nodes]
        return COLUMNS | {
            "node": "select",
            "input_feature_names": [f"{party}{i}" for i in range(NUM_FEATURES)],
            "input_feature_types": ["DT_DOUBLE"] * NUM_FEATURES,
            "node_ids": list(nodes),
            "lchild_ids": [split[3] if split[0] else -1 for split in own],
            "rchild_ids": [split[3] + 1 if split[0] else -1 for split in own],
            "split_feature_idxs": [split[1] if split[0] == party else -1 for split in own],
            "split_values": [split[2] for split in own],
            "leaf_node_ids": [] if empty else self.leaves,
            "weight_shard": self.shards[party],
        }

    def paths(self, party):
        """For each leaf the party's decisions that lead to it."""
        found = {0: ()}
        for node, (owner, _, _, child) in sorted(self.splits.items()):
            for side in (0, 1):
                found[child + side] = found[node] + (((node, side),) if owner == party else ())
        return [found[leaf] for leaf in self.leaves]

    def weight(self, rows, i):
        node = 0
        while node in self.splits:
            party, feature, value, child = self.splits[node]
            node = child if rows[party][i][feature] < value else child + 1
        return self.weights[self.leaves.index(node)]


class Ensemble:
    """Both parties' operators for some trees."""

    def __init__(self, parties, trees, *, empty=""):
        self.trees, merge = trees, COLUMNS | {"output_col_name": "weight"}
        self.select, self.merge, self.total, self.predict = {}, {}, {}, {}
        for party in ("alice", "bob"):
            self.select[party] = [
                parties.make(party, PheTreeSelect, (), **tree.attributes(party, empty=party == empty)) for tree in trees
            ]
            self.merge[party] = [
                parties.make(party, PheTreeMerge, ("select",), weight_shard=tree.shards[party], **merge)
                for tree in trees
            ]
            self.total[party] = parties.make(
                party,
                PheTreeEnsembleMerge,
                tuple(f"merge{i}" for i in range(len(trees))),
                input_col_name="weight",
                output_col_name="sum",
                num_trees=len(trees),
            )
            self.predict[party] = parties.make(
                party, PheTreeEnsemblePredict, input_col_name="sum", output_col_name="s", base_score=0.5
            )

    def selects(self, requester, rows):
        return [
            [
                self.select[p][i].compute(context(p, requester), features(self.select[p][i], rows[p]))
                for p in (requester, other(requester))
            ]
            for i in range(len(self.select[requester]))
        ]

    def fused_selects(self, requester, rows):
        tables = []
        for party in (requester, other(requester)):
            selects = self.select[party]
            view = ExecutionView({f"select{i}": select for i, select in enumerate(selects)}, ())
            fusions, there = list(PheTreeSelect.fuse(view)), context(party, requester)
            table = features(selects[0], rows[party])
            computed = fusions[0].compute(there, table) if fusions else [selects[0].compute(there, table)]
            tables.append(computed)
        return list(map(list, zip(*tables, strict=True)))

    def score(self, requester, rows, *, fused):
        peer = other(requester)
        there, selects = context(peer, requester), self.selects(requester, rows)
        if fused:
            selects = self.fused_selects(requester, rows)
            view = {f"merge{i}": merge for i, merge in enumerate(self.merge[peer])} | {"total": self.total[peer]}
            (fusion,) = PheTreeEnsembleMerge.fuse(ExecutionView(view, ("total",)))
            assert fusion.nodes == (*(name for name in view if name != "total"), "total")
            (total,) = fusion.compute(there, *selects)
        else:
            weights = [m.compute(there, tables) for m, tables in zip(self.merge[peer], selects, strict=True)]
            total = self.total[peer].compute(there, *weights)
        return self.predict[requester].compute(context(requester, requester), total).float64(0)


def random_rows(count, seed=1):
    draw = np.random.default_rng(seed)
    return {p: draw.uniform(-1, 1, (count, NUM_FEATURES)).tolist() for p in ("alice", "bob")}


def expected(trees, rows):
    return [0.5 + sum(tree.weight(rows, i) for tree in trees) for i in range(len(rows["alice"]))]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("requester", ["alice", "bob"])
def test_scores_are_those_of_plain_trees(parties, requester, fused):
    trees, rows = [Tree(n, seed) for seed, n in enumerate((8, 2, 5, 1))], random_rows(5)
    scores = Ensemble(parties, trees).score(requester, rows, fused=fused)
    np.testing.assert_allclose(scores, expected(trees, rows), atol=1e-6)


def test_trees_over_the_same_features_are_selected_at_once(parties):
    """With noise taken once for all, as much as the trees take one by one, and no item twice."""
    trees, other_features = [Tree(3, seed) for seed in range(3)], Tree(2, 7)
    same = [tree.attributes("alice") | {"node": f"s{seed}"} for seed, tree in enumerate(trees)]
    odd = other_features.attributes("alice") | {"input_feature_names": ["x", "y", "z"], "node": "odd"}
    selects = [parties.make("alice", PheTreeSelect, (), **attributes) for attributes in (*same[:2], odd, same[2])]
    keyring = selects[0].keyring
    (fusion,) = PheTreeSelect.fuse(ExecutionView({each.node.name: each for each in selects}, ()))
    assert fusion.nodes == fusion.outputs == ("s0", "s1", "s2")
    taken, take = [], keyring.own_noise.take
    keyring.own_noise.take = lambda count: taken.append(count) or take(count)
    rows = random_rows(4)["alice"]
    try:
        tables = fusion.compute(context("alice", "alice"), features(selects[0], rows))
        sizes = [sum(len(cell) for cell in table.rows()[0][:2]) / len(rows) for table in tables]
        assert sizes == pytest.approx([each.row_bytes for each in (*selects[:2], selects[3])], rel=0.05)
        assert taken == [4 * sum(3 + len(set(tree.paths("alice"))) for tree in trees)]
        fusion.compute(context("alice", "bob"), features(selects[0], rows))
        assert len(taken) == 1  # where nothing is encrypted, no noise is needed
    finally:
        del keyring.own_noise.take
    items = [item for table in tables for cell in table.rows()[0][:2] for item in read_matrix(cell).items]
    assert len(set(items)) == taken[0]


def test_scores_with_paillier_keys(paillier_parties):
    trees, rows = [Tree(4, 1)], random_rows(2)
    np.testing.assert_allclose(
        Ensemble(paillier_parties, trees).score("alice", rows, fused=True), expected(trees, rows), atol=1e-6
    )


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 12), min_size=1, max_size=3), st.integers(0, 10**6), st.sampled_from(["alice", "bob"]))
def test_random_ensembles(parties, sizes, seed, requester):
    trees, rows = [Tree(n, seed + i) for i, n in enumerate(sizes)], random_rows(2, seed)
    scores = Ensemble(parties, trees).score(requester, rows, fused=True)
    np.testing.assert_allclose(scores, expected(trees, rows), atol=1e-6)


@pytest.mark.parametrize("requester", ["alice", "bob"])
def test_a_party_that_knows_nothing_of_the_tree(parties, requester):
    trees, rows = [Tree(6, 3, owners=("bob",)), Tree(3, 4, owners=("bob",))], random_rows(3)
    scores = Ensemble(parties, trees, empty="alice").score(requester, rows, fused=True)
    np.testing.assert_allclose(scores, expected(trees, rows), atol=1e-6)


@pytest.mark.parametrize("num_leaves", [57, 63, 64, 65])
def test_any_number_of_leaves_is_served(parties, num_leaves):
    """Q16: the reference fails for trees with 57 to 63 leaves beyond a multiple of 64."""
    tree, rows = Tree(num_leaves, 9), random_rows(1)
    scores = Ensemble(parties, [tree]).score("alice", rows, fused=False)
    np.testing.assert_allclose(scores, expected([tree], rows), atol=1e-6)


@pytest.mark.parametrize("requester", ["alice", "bob"])
def test_leaves_whose_own_share_is_zero_count(parties, requester):
    """Q14: the reference drops the other party's share of them."""
    tree, rows = Tree(4, 5), random_rows(4)
    whole = write_plain_matrix(4, 1, 2, [int(weight * SCALE) for weight in tree.weights])
    tree.shards = {requester: whole, other(requester): write_plain_matrix(4, 1, 2, [0] * 4)}
    scores = Ensemble(parties, [tree]).score(requester, rows, fused=False)
    np.testing.assert_allclose(scores, expected([tree], rows), atol=1e-6)


# ----------------------------------------------------------------- at load time
def test_nodes_that_cannot_work():
    good = Tree(4, 1).attributes("alice")
    bad = [
        ({"node_ids": good["node_ids"][:-1]}, "differ in length"),
        ({"node_ids": [0] * len(good["node_ids"])}, "node_ids holds an item twice"),
        ({"input_feature_types": []}, "0 input_feature_types"),
        ({"split_feature_idxs": [99, *good["split_feature_idxs"][1:]]}, "holds 99, there are 3 features"),
        ({"leaf_node_ids": good["leaf_node_ids"][:-1]}, "weight_shard has 4 shares, leaf_node_ids 3"),
        ({"leaf_node_ids": good["leaf_node_ids"][:-1] * 2}, "4 shares, leaf_node_ids 6"),
        ({"leaf_node_ids": [good["leaf_node_ids"][0]] * 4}, "holds a leaf twice"),
        ({"leaf_node_ids": [*good["leaf_node_ids"][:-1], 50]}, "cannot be reached|children|lacks node"),
        ({"root_node_id": 77}, "lacks node 77"),
        ({"weight_shard": b""}, "weight_shard: "),
        ({"weight_shard": write_plain_matrix(2, 2, 2, [1] * 4)}, "2 columns, one is needed"),
    ]
    for change, message in bad:
        with pytest.raises(GraphError, match=message) as caught:
            make(PheTreeSelect, (), **(good | change))
        assert caught.value.code == ErrorCode.LOGIC_ERROR
    with pytest.raises(GraphError, match="num_trees is 2, the node has 1 parents"):
        make(PheTreeEnsembleMerge, input_col_name="a", output_col_name="b", num_trees=2)


def test_trees_with_cycles():
    attributes = Tree(3, 1).attributes("alice")
    attributes["lchild_ids"] = [
        0 if child == attributes["lchild_ids"][0] else child for child in attributes["lchild_ids"]
    ]
    with pytest.raises(GraphError, match="reached twice"):
        make(PheTreeSelect, (), **attributes)


# --------------------------------------------------------------------- attacks
@pytest.fixture(scope="module")
def ensemble(parties):
    return Ensemble(parties, [Tree(6, 2), Tree(6, 8)])


ROWS = random_rows(3)


def merge(ensemble, tables, tree=0):
    return ensemble.merge["bob"][tree].compute(context("bob", "alice"), tables)


def test_selections_that_come_back_changed(ensemble):
    """Finding 5: who asks for scores must not choose which shares of the other party it gets."""
    own, theirs = ensemble.selects("alice", ROWS)[0]
    token = theirs.rows()[0][0]
    exchanged = ensemble.selects("bob", ROWS)[0][1].rows()[0][0]  # sealed by alice
    for bad in (b"", token[:10], token[:-1], token + b"\0", exchanged, bytes([token[0] ^ 1]) + token[1:]):
        with pytest.raises(WireError, match="column 'select' of bob: this party's selection"):
            merge(ensemble, [own, with_cell(theirs, 0, bad)])
    assert merge(ensemble, [own, theirs]).num_rows == 1


def test_selections_of_another_tree(parties):
    tree = Tree(6, 2)
    operator = parties.make("bob", PheTreeSelect, (), **tree.attributes("bob") | {"node": "elsewhere"})
    elsewhere = operator.compute(context("bob", "alice"), features(operator, ROWS["bob"]))
    ensemble = Ensemble(parties, [tree])
    own, _ = ensemble.selects("alice", ROWS)[0]
    with pytest.raises(WireError, match="changed, or from elsewhere"):
        merge(ensemble, [own, elsewhere])


def test_selections_cannot_be_read_nor_told_apart(ensemble):
    tokens = {ensemble.selects("alice", ROWS)[0][1].rows()[0][0] for _ in range(4)}
    assert len(tokens) == 4


def test_every_ciphertext_has_noise_of_its_own(ensemble, parties):
    """Finding 6: quotients of rows or leaves would be free of randomness.

    Only where the tree itself tells that two bits are equal, one ciphertext stands for both.
    """
    own, theirs = ensemble.selects("alice", {p: [rows[0]] * 4 for p, rows in ROWS.items()})[0]
    key, secret = parties.key("alice"), parties.secrets["alice"]
    cells = [*own.rows()[0][:2], merge(ensemble, [own, theirs]).rows()[0][0]]
    for cell in cells:
        items = read_cipher_matrix(cell, key).items
        noises = {key.leave(i) * key.power(-m) % key.n for i, m in zip(items, secret.decrypt(items), strict=True)}
        paths = ensemble.trees[0].paths("alice") if cell is cells[0] else range(len(items) // 4)
        assert len(noises) == 4 * len(set(paths))
        assert 1 not in noises
    assert 1 < len(set(ensemble.trees[0].paths("alice"))) < 6
    columns = [tuple(read_matrix(cells[0]).items[4 * leaf : 4 * leaf + 4]) for leaf in range(6)]
    assert len(set(zip(columns, ensemble.trees[0].paths("alice"), strict=True))) == len(set(columns))


def test_peer_s_cells_that_do_not_fit(ensemble, parties):
    own, theirs = ensemble.selects("alice", ROWS)[0]
    key = parties.key("alice")
    bad = {
        "end too early": own.rows()[0][0][:-1],
        "2 x 6, 3 x 6 is needed": write_cipher_matrix(2, 6, 2, [key.noise()] * 12, key),
        "3 x 5, 3 x 6 is needed": write_cipher_matrix(3, 5, 2, [key.noise()] * 15, key),
        "18 x 1, 3 x 6 is needed": write_cipher_matrix(18, 1, 2, [key.noise()] * 18, key),
        "outside of its key's range": write_matrix(3, 6, 2, [write_ciphertext(key.n, 1)] * 18),
        "scheme 2": write_matrix(3, 6, 2, [write_ciphertext(mpz(7), 2)] * 18),
    }
    for message, cell in bad.items():
        for column in (0, 1):
            with pytest.raises(SfsError, match=message):
                merge(ensemble, [with_cell(own, column, cell), theirs])
    with pytest.raises(SfsError, match="column 'share' of alice"):
        merge(ensemble, [with_cell(own, 1, b""), theirs])


def test_ciphertexts_without_inverse_give_no_score(ensemble, parties):
    """Only the key's owner can make them."""
    own, theirs = ensemble.selects("alice", ROWS)[0]
    key, p = parties.key("alice"), parties.secrets["alice"]._p
    cell = write_matrix(3, 6, 2, [write_ciphertext(p, 1)] * 18)
    weight = merge(ensemble, [with_cell(own, 0, cell), theirs])
    total = Batch.from_rows(ensemble.predict["alice"].input_schemas()[0], weight.rows())
    with pytest.raises(SfsError, match="out of range"):
        ensemble.predict["alice"].compute(context("alice", "alice"), total)
    assert 0 < p < key.n


def test_only_the_requester_s_peer_merges(ensemble):
    tables = ensemble.selects("alice", ROWS)[0]
    with pytest.raises(GraphError, match="it runs not at the party"):
        ensemble.merge["bob"][0].compute(context("bob", "bob"), tables)
    total = Batch.from_rows(ensemble.predict["bob"].input_schemas()[0], [(b"",)])
    with pytest.raises(GraphError, match="it runs only at the party"):
        ensemble.predict["bob"].compute(context("bob", "alice"), total)


def test_shares_that_do_not_cancel(parties):
    """Packages of different exports: an error instead of a score."""
    tree = Tree(4, 5)
    tree.shards["bob"] = Tree(4, 5).shards["bob"]
    with pytest.raises(SfsError, match="out of range"):
        Ensemble(parties, [tree]).score("alice", random_rows(2), fused=True)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_tables_give_errors_or_tables(ensemble, tables, data):
    own, theirs = tables
    column = data.draw(st.sampled_from([0, 1]))
    cell = bytearray(own.rows()[0][column])
    for _ in range(data.draw(st.integers(1, 3))):
        cell[data.draw(st.integers(0, len(cell) - 1) | st.integers(0, 30))] = data.draw(st.integers(0, 255))
    with suppress(SfsError):
        assert merge(ensemble, [with_cell(own, column, bytes(cell)), theirs]).num_rows == 1


@pytest.fixture(scope="module")
def tables(ensemble):
    return ensemble.selects("alice", {p: rows[:1] for p, rows in ROWS.items()})[0]
