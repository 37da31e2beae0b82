"""The contract of operators."""

from __future__ import annotations

import pytest
from sfs_op_tree.ensemble import TreeEnsemblePredict
from sfs_op_tree.merge import TreeMerge

from sfs_core.testing import OperatorCase, OperatorContract, make_operator

from .test_select import attributes

SELECTS = [[(b"\x04\x03",), (b"\x04\x0c",)], [(b"\x04\x05",), (b"\x04\x08",)]]
MERGE = {"input_col_name": "select", "output_col_name": "weight", "leaf_weights": [0.5, 1.5, 2.5, 3.5]}


class TestTreeSelect(OperatorContract):
    @pytest.fixture(params=["DT_DOUBLE", "DT_FLOAT", "DT_INT32"])
    def case(self, request):
        return OperatorCase(
            component="TREE_SELECT",
            attributes=attributes(types=[request.param] * 2),
            inputs=[[(1, 9), (2, -1), (2, 0)]],
            expected=[(bytes([4, 3]),), (bytes([4, 4]),), (bytes([4, 8]),)],
        )


class TestTreeMerge(OperatorContract):
    @pytest.fixture
    def case(self):
        return OperatorCase(
            component="TREE_MERGE",
            attributes=MERGE,
            inputs=[SELECTS],
            expected=[(0.5,), (3.5,)],
            parents=("select",),
        )


class TestTreeEnsemblePredict(OperatorContract):
    @pytest.fixture
    def case(self):
        own = {"input_col_name": "weight", "output_col_name": "score", "num_trees": 2, "base_score": 0.5}
        trees = [make_operator(TreeMerge, MERGE, [f"{name} selects"], name=name) for name in ("one", "other")]
        ensemble = make_operator(TreeEnsemblePredict, own, ["one", "other"])
        return OperatorCase(
            component="TREE_ENSEMBLE_PREDICT",
            attributes=own,
            inputs=[[(1.0,), (2.0,)], [(0.25,), (-4.0,)]],
            execution=[*trees, ensemble],
            execution_inputs={"one selects": SELECTS, "other selects": SELECTS},
            expected=[(1.75,), (-1.5,)],
            parents=("one", "other"),
        )
