"""Encrypted packages that SecretFlow exported score as the reference's engine did, whichever party is asked."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from sfs_op_phe.trees import Node, inseparable, read_splits

from sfs_core import NodeSpec, read_package
from sfs_core.codec.prediction import FeatureParam, PredictRequest
from sfs_core.host.registry import Registry
from sfs_core.testing import predictors
from tests.support.cases import HE, load_case

ROWS = 12


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.discover()


@pytest.mark.parametrize("name", HE)
async def test_scores_equal_the_reference_s(name: str, cases: Path, registry: Registry) -> None:
    case = load_case(cases, name)
    ids = case.ids[:ROWS]
    sources = {
        p: {"name": "csv", "path": str(case.features(p))} if case.has_features(p) else {"name": "mock"}
        for p in case.parties
    }
    packages = {party: case.package(party) for party in case.parties}
    with ThreadPoolExecutor(1) as pool:
        for predictor in predictors(packages, sources, registry, pool).values():
            reply = await predictor.predict(request(case.parties, ids))
            np.testing.assert_allclose(reply.scores.float64(0), case.scores[:ROWS], rtol=2e-15)
            single = await predictor.predict(request(case.parties, ids[-1:]))
            assert single.scores.float64(0)[0] == reply.scores.float64(0)[-1]


@pytest.mark.parametrize("name", ["reference_ci/ou_glm", "packages/xgb_onep_he"])
async def test_scores_are_the_same_where_parties_pack(name: str, cases: Path, registry: Registry) -> None:
    case = load_case(cases, name)
    sources = {
        p: {"name": "csv", "path": str(case.features(p))} if case.has_features(p) else {"name": "mock"}
        for p in case.parties
    }
    packages = {party: case.package(party) for party in case.parties}
    with ThreadPoolExecutor(1) as pool:
        for predictor in predictors(packages, sources, registry, pool, operators=packed(registry)).values():
            for rows in (1, 7):
                reply = await predictor.predict(request(case.parties, case.ids[:rows]))
                np.testing.assert_allclose(reply.scores.float64(0), case.scores[:rows], rtol=2e-15)


@pytest.mark.parametrize("name", ["packages/xgb_logistic_he", "reference_ci/ou_xgb"])
def test_which_leaves_share_an_encrypted_bit_is_known_from_the_peer_s_package(name: str, cases: Path) -> None:
    case = load_case(cases, name)
    requester, peer = (read_package(case.package(party)).graph.nodes for party in case.parties)
    trees = [node for node in requester if requester[node].op == "PHE_2P_TREE_SELECT"]
    assert len(trees) > 1
    for node in trees:
        assert shared_bits(requester[node], lambda feature: feature) == shared_bits(peer[node], others_feature)


def others_feature(feature: int) -> int:
    return -1 if feature >= 0 else 0


def shared_bits(select: NodeSpec, feature_of: Callable[[int], int]) -> list[int]:
    """For each leaf the first with the same bit, with the owner of splits changed."""
    names = ("node_ids", "lchild_ids", "rchild_ids", "split_feature_idxs")
    numbers, left, right, features = (select.attributes[name].value for name in names)
    leaves = select.attributes["leaf_node_ids"].value
    nodes = {n: Node(a, b, feature_of(f), 0.0) for n, a, b, f in zip(numbers, left, right, features, strict=True)}
    return inseparable(read_splits(select.attributes["root_node_id"].value, nodes, leaves), len(leaves))


@pytest.mark.parametrize(("name", "packing"), [("packages/sgd_logistic_he", True), ("packages/xgb_logistic_he", False)])
async def test_rows_that_parties_lack_leave_the_others_scores(
    name: str, packing: bool, cases: Path, registry: Registry, tmp_path: Path
) -> None:
    case = load_case(cases, name)
    ids = case.ids[:6]
    lacking = dict(zip(case.parties, ids[1:], strict=False))
    sources = {}
    for party in case.parties:
        header, *rows = case.features(party).read_text().splitlines(keepends=True)
        (at,) = [i for i, column in enumerate(header.rstrip().split(",")) if column == "id"]
        path = tmp_path / f"{party}.csv"
        path.write_text("".join([header, *(row for row in rows if row.rstrip().split(",")[at] != lacking[party])]))
        sources[party] = {"name": "csv", "path": str(path)}
    packages = {party: case.package(party) for party in case.parties}
    operators = packed(registry) if packing else None
    with ThreadPoolExecutor(1) as pool:
        for predictor in predictors(packages, sources, registry, pool, per_row=True, operators=operators).values():
            reply = await predictor.predict(request(case.parties, ids))
            assert reply.missing == [id_ in lacking.values() for id_ in ids]
            there = [score for score, id_ in zip(case.scores[:6], ids, strict=True) if id_ not in lacking.values()]
            np.testing.assert_allclose(reply.scores.float64(0), there, rtol=2e-15)
            nothing = await predictor.predict(request(case.parties, ids[1:2]))
            assert (list(nothing.missing), nothing.scores.num_rows) == ([True], 0)


def packed(registry: Registry) -> dict[str, dict[str, object]]:
    options = {"packing": True, "workers": 0, "noise_stock": 0}
    return dict.fromkeys(registry.operators_of("sfs-op-phe"), options)


def request(parties: tuple[str, ...], ids: list[str]) -> PredictRequest:
    return PredictRequest.of("svc", {party: FeatureParam(ids) for party in parties})
