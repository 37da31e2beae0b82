"""The contract of operators: tables are packed into matrices, and outputs compared by what their ciphertexts hold."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from sfs_op_phe.base import PheOperator
from sfs_op_phe.building import encrypt_intercept, encrypt_weights
from sfs_op_phe.config import PheConfig
from sfs_op_phe.keyring import keyring_of
from sfs_op_phe.matrices import (
    read_cipher_matrix,
    read_one_ciphertext,
    read_plain_matrix,
    write_cipher_matrix,
    write_one_ciphertext,
    write_plain_matrix,
)
from sfs_op_phe.selections import open_selections, seal_selections
from sfs_op_phe.tree_ensemble import PheTreeEnsembleMerge
from sfs_op_phe.tree_merge import PheTreeMerge

from sfs_core import Batch, Schema
from sfs_core.testing import OperatorCase, OperatorContract, PackedTable

from .conftest import ALONE, SCALE, Parties, context, other

Rows = Sequence[tuple[Any, ...]]
FEATURE_SCALE = 10**6
MASK = 12345 << 150
"""Of the party that was not asked for scores: one for all rows."""
SHARES = {
    "alice": [5 << 90, -(3 << 90), 7, 0],
    "bob": [SCALE - (5 << 90), 2 * SCALE + (3 << 90), 4 * SCALE - 7, 8 * SCALE],
}
"""Of a tree with leaves of the weights 1, 2, 4 and 8."""


def case(parties: Parties, party: str, requester: str, component: str, **more: Any) -> OperatorCase:
    """Operators of a party with everything that they have in common."""
    cluster, there = parties.clusters[party], context(party, requester)
    return OperatorCase(
        component=component,
        options=ALONE,
        cluster=cluster,
        context=there,
        parties=(2,),
        many=12,
        takes_no_rows=False,
        **more,
    )


def encrypted(parties: Parties, owner: str, numbers: Sequence[int], columns: int = 1) -> bytes:
    """Integers, column by column, under a party's key."""
    key = parties.key(owner)
    items = [key.noise() * key.power(number) % key.modulus for number in numbers]
    return write_cipher_matrix(len(numbers) // columns, columns, 2, items, key)


def decrypted(parties: Parties, owner: str, cell: bytes) -> list[int]:
    """Integers, column by column, of a matrix under a party's key."""
    return parties.secrets[owner].decrypt(read_cipher_matrix(cell, parties.key(owner)).items)


def single(parties: Parties, owner: str, schema: Schema, rows: Rows) -> Batch:
    """A table with one encrypted column: an integer in each row."""
    return Batch.from_rows(schema, [(encrypted(parties, owner, [number for (number,) in rows]),)])


def singles_of(parties: Parties, owner: str, _: PheOperator, output: Batch) -> Rows:
    """The integers in a table with one encrypted column."""
    ((cell,),) = output.rows()
    return [(number,) for number in decrypted(parties, owner, cell)]


# ---------------------------------------------------------------------------------------------------- linear models
class TestDotProduct(OperatorContract):
    @pytest.fixture(params=["alice", "bob"])
    def case(self, request, parties):
        """Of alice, who is asked for scores, or not."""
        weights = encrypt_weights([2.0, -0.5], SCALE, parties.key("bob"))
        attributes = {
            "feature_names": ["x", "y", "offset"],
            "feature_types": ["DT_DOUBLE", "DT_INT64", "DT_FLOAT"],
            "feature_weights_ciphertext": weights,
            "intercept_ciphertext": encrypt_intercept(0.25, SCALE, parties.key("bob")),
            "offset_col_name": "offset",
            "result_col_name": "y",
            "rand_number_col_name": "rand",
        }
        return case(
            parties,
            "alice",
            request.param,
            "PHE_2P_DOT_PRODUCT",
            attributes=attributes,
            inputs=[[(1.5, 2, 0.0), (0.0, 4, 100.0), (-1.0, 1, -0.25)]],
            expected=[(2.25,), (98.25,), (-2.5,)],
            unpack=partial(self.unmasked, parties, request.param),
        )

    def unmasked(self, parties: Parties, requester: str, _: PheOperator, output: Batch) -> Rows:
        """Partial scores, once the mask is off."""
        ((results, masks, party),) = output.rows()
        assert party == "alice"
        sums = decrypted(parties, "bob", results)
        if requester == "alice":
            off = list(read_plain_matrix(masks).items)
        else:
            off = parties.secrets["alice"].decrypt([read_one_ciphertext(masks, parties.key("alice"))]) * len(sums)
        return [((a + b) / (FEATURE_SCALE * SCALE),) for a, b in zip(sums, off, strict=True)]


class TestReduce(OperatorContract):
    @pytest.fixture(params=[True, False])
    def case(self, request, parties):
        """What the peer is to decrypt, and what the requester."""
        return case(
            parties,
            "alice",
            "alice",
            "PHE_2P_REDUCE",
            attributes={
                "partial_y_col_name": "y",
                "rand_number_col_name": "rand",
                "select_crypted_for_peer": request.param,
            },
            parents=("dot",),
            inputs=[
                [
                    PackedTable(rows=[(10, -3), (20, -4)], pack=partial(self.table, parties, "alice")),
                    PackedTable(rows=[(100, -MASK), (200, -MASK)], pack=partial(self.table, parties, "bob")),
                ]
            ],
            expected=[(10 - MASK,), (20 - MASK,)] if request.param else [(97,), (196,)],
            unpack=partial(singles_of, parties, "bob" if request.param else "alice"),
        )

    def table(self, parties: Parties, party: str, schema: Schema, rows: Rows) -> Batch:
        """What a party's dot product gives alice: each row is a result and a mask."""
        results = encrypted(parties, other(party), [result for result, _ in rows])
        masks = write_plain_matrix(len(rows), 1, 2, [mask for _, mask in rows])
        if party == "bob":
            key = parties.key(party)
            masks = write_one_ciphertext(key.noise() * key.power(-MASK) % key.modulus, key)
        return Batch.from_rows(schema, [(results, masks, party)])


class TestDecryptPeerY(OperatorContract):
    @pytest.fixture
    def case(self, parties):
        return case(
            parties,
            "alice",
            "bob",
            "PHE_2P_DECRYPT_PEER_Y",
            attributes={"partial_y_col_name": "y", "decrypted_col_name": "d"},
            parents=("reduce",),
            inputs=[PackedTable(rows=[(5,), (-(1 << 190),)], pack=partial(single, parties, "alice"))],
            expected=[(5,), (-(1 << 190),)],
            unpack=lambda _, output: [(number,) for number in read_plain_matrix(output.rows()[0][0]).items],
        )


class TestMergeY(OperatorContract):
    @pytest.fixture
    def case(self, parties):
        one = FEATURE_SCALE * SCALE
        return case(
            parties,
            "alice",
            "alice",
            "PHE_2P_MERGE_Y",
            attributes={
                "decrypted_y_col_name": "d",
                "crypted_y_col_name": "y",
                "score_col_name": "score",
                "link_function": "LF_IDENTITY",
                "yhat_scale": 2.0,
            },
            parents=("decrypted", "reduced"),
            inputs=[
                PackedTable(rows=[(MASK + one,), (-MASK,)], pack=self.plain),
                PackedTable(rows=[(one - MASK,), (MASK - one // 2,)], pack=partial(single, parties, "alice")),
            ],
            expected=[(4.0,), (-1.0,)],
        )

    def plain(self, schema: Schema, rows: Rows) -> Batch:
        """What the peer decrypted."""
        return Batch.from_rows(schema, [(write_plain_matrix(len(rows), 1, 2, [number for (number,) in rows]),)])


# ---------------------------------------------------------------------------------------------------- tree ensembles
COLUMNS = {"select_col_name": "select", "weight_shard_col_name": "share"}


def shard(party: str) -> bytes:
    return write_plain_matrix(len(SHARES[party]), 1, 2, SHARES[party])


class TestTreeSelect(OperatorContract):
    @pytest.fixture(params=["alice", "bob"])
    def case(self, request, parties):
        """Of alice, who is asked for scores, or not: her features decide below the root, one of bob's there."""
        attributes = COLUMNS | {
            "input_feature_names": ["x", "y"],
            "input_feature_types": ["DT_DOUBLE", "DT_FLOAT"],
            "node_ids": [0, 1, 2, 3, 4, 5, 6],
            "lchild_ids": [1, 3, 5, -1, -1, -1, -1],
            "rchild_ids": [2, 4, 6, -1, -1, -1, -1],
            "split_feature_idxs": [-1, 0, 1, -1, -1, -1, -1],
            "split_values": [0.0, 9.0, 1.5, 0.0, 0.0, 0.0, 0.0],
            "leaf_node_ids": [3, 4, 5, 6],
            "weight_shard": shard("alice"),
        }
        one, two, three, four = SHARES["alice"]
        own, sealed = [(0, 1, 1, 0, 0, two, three, 0), (1, 0, 0, 1, one, 0, 0, four)], [(0, 1, 1, 0), (1, 0, 0, 1)]
        return case(
            parties,
            "alice",
            request.param,
            "PHE_2P_TREE_SELECT",
            attributes=attributes,
            inputs=[[(9.0, 1.0), (0.0, 1.5)]],
            expected=own if request.param == "alice" else sealed,
            unpack=partial(self.selected, parties, request.param),
        )

    def selected(self, parties: Parties, requester: str, operator: PheOperator, output: Batch) -> Rows:
        """By row: a 0 or 1 for each leaf, and at the party that is asked the share or 0 as well."""
        ((select, share, party),) = output.rows()
        assert party == "alice"
        if requester != party:
            sets = open_selections(select, 4, operator.node.name, operator.keyring)
            return [tuple(leaves >> leaf & 1 for leaf in range(4)) for leaves in sets]
        columns = decrypted(parties, party, select) + decrypted(parties, party, share)
        num_rows = len(columns) // 8
        return [tuple(columns[row::num_rows]) for row in range(num_rows)]


def selections(parties: Parties, node: str, party: str, schema: Schema, rows: Rows) -> Batch:
    """What both parties select in a node for alice, who asks bob: each row is a set of leaves."""
    sets = [leaves for (leaves,) in rows]
    if party == "bob":
        keyring = keyring_of(parties.clusters[party], PheConfig(**ALONE))
        return Batch.from_rows(schema, [(seal_selections(sets, 4, node, keyring), b"", party)])
    bits = [leaves >> leaf & 1 for leaf in range(4) for leaves in sets]
    shares = [bit * SHARES[party][i // len(sets)] for i, bit in enumerate(bits)]
    cells = [encrypted(parties, party, numbers, 4) for numbers in (bits, shares)]
    return Batch.from_rows(schema, [(*cells, party)])


def both_selections(parties: Parties, node: str) -> list[PackedTable]:
    """Alice leaves exactly one leaf of those that bob leaves: the first, the third, the second."""
    sets = {"alice": [0b1001, 0b0110, 0b0110], "bob": [0b0111, 0b1101, 0b0011]}
    return [
        PackedTable(rows=[(leaves,) for leaves in sets[party]], pack=partial(selections, parties, node, party))
        for party in ("alice", "bob")
    ]


WEIGHTS = [SCALE, 4 * SCALE, 2 * SCALE]
"""Of the leaves that both leave."""


class TestTreeMerge(OperatorContract):
    @pytest.fixture
    def case(self, parties):
        return case(
            parties,
            "bob",
            "alice",
            "PHE_2P_TREE_MERGE",
            attributes=COLUMNS | {"output_col_name": "weight", "weight_shard": shard("bob")},
            parents=("select",),
            inputs=[both_selections(parties, "select")],
            expected=[(weight,) for weight in WEIGHTS],
            unpack=partial(singles_of, parties, "alice"),
        )


class TestTreeEnsembleMerge(OperatorContract):
    @pytest.fixture
    def case(self, parties):
        attributes = {"input_col_name": "weight", "output_col_name": "sum", "num_trees": 2}
        merge = COLUMNS | {"output_col_name": "weight", "weight_shard": shard("bob")}
        trees = {name: f"{name} selects" for name in ("one", "other")}
        return case(
            parties,
            "bob",
            "alice",
            "PHE_2P_TREE_ENSEMBLE_MERGE",
            attributes=attributes,
            parents=tuple(trees),
            inputs=[
                PackedTable(rows=[(number,), (-7,)], pack=partial(single, parties, "alice")) for number in (SCALE, 8)
            ],
            expected=[(SCALE + 8,), (-14,)],
            execution=[
                *(parties.make("bob", PheTreeMerge, (trees[name],), node=name, **merge) for name in trees),
                parties.make("bob", PheTreeEnsembleMerge, tuple(trees), node="ensemble", **attributes),
            ],
            execution_inputs={node: both_selections(parties, node) for node in trees.values()},
            unpack=partial(singles_of, parties, "alice"),
        )


class TestTreeEnsemblePredict(OperatorContract):
    @pytest.fixture
    def case(self, parties):
        return case(
            parties,
            "alice",
            "alice",
            "PHE_2P_TREE_ENSEMBLE_PREDICT",
            attributes={"input_col_name": "sum", "output_col_name": "score", "base_score": 0.5},
            parents=("ensemble",),
            inputs=[PackedTable(rows=[(SCALE,), (-3 * SCALE,)], pack=partial(single, parties, "alice"))],
            expected=[(1.5,), (-2.5,)],
        )
