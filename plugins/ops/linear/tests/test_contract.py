"""The contract of operators."""

from __future__ import annotations

import pytest

from sfs_core.testing import OperatorCase, OperatorContract


class TestDotProduct(OperatorContract):
    @pytest.fixture(params=["DT_DOUBLE", "DT_FLOAT", "DT_INT64"])
    def case(self, request):
        attributes = {"feature_names": ["x", "y"], "feature_weights": [2.0, -0.5], "output_col_name": "out"}
        return OperatorCase(
            component="DOT_PRODUCT",
            attributes=attributes | {"input_types": ["DT_DOUBLE", request.param], "intercept": 0.25},
            inputs=[[(1.5, 2), (0.0, 4), (-1.0, 1)]],
            expected=[(2.25,), (-1.75,), (-2.25,)],
        )


class TestMergeY(OperatorContract):
    @pytest.fixture
    def case(self):
        return OperatorCase(
            component="MERGE_Y",
            attributes={
                "link_function": "LF_IDENTITY",
                "input_col_name": "y",
                "output_col_name": "score",
                "yhat_scale": 2.0,
            },
            inputs=[[[(1.0,), (2.0,)], [(0.5,), (-3.0,)], [(0.0,), (0.25,)]]],
            expected=[(3.0,), (-1.5,)],
            parents=("dot",),
        )
