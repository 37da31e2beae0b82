"""Link functions against the reference's own values, and array against single form."""

import json
import math

import numpy as np
import pytest

from sfs_core import ErrorCode, GraphError, link_function
from sfs_core.sdk.link_functions import LINK_FUNCTIONS

ALL = [*(link_function(name) for name in LINK_FUNCTIONS), link_function("LF_EXP_TAYLOR", 8)]
SPECIAL = np.array([0.0, -0.0, 0.5, -1.5, 2.0, -2.0, 4.0, 5.87, 35.75, -35.75, 800.0, -800.0, np.inf, -np.inf, np.nan])


@pytest.fixture(autouse=True)
def _quiet():
    with np.errstate(all="ignore"):
        yield


def test_agree_with_the_reference(cases):
    recorded = json.loads((cases / "link_functions.json").read_text())
    x = np.array(recorded["x"])
    seen = set()
    for function in recorded["functions"]:
        link, scale = link_function(function["link"], function["exp_iters"]), function["yhat_scale"]
        expected = [float(score) for score in function["score"]]
        np.testing.assert_allclose(link.many(x) * scale, expected, rtol=1e-12, err_msg=link.name)
        np.testing.assert_allclose(
            [link.one(value) * scale for value in recorded["x"] if value], np.array(expected)[x != 0], rtol=1e-12
        )
        seen.add(link.name)
    assert seen == {*LINK_FUNCTIONS, "LF_EXP_TAYLOR"}


@pytest.mark.parametrize("link", ALL, ids=lambda link: link.name)
def test_one_number_gives_what_an_array_gives(link):
    many = link.many(SPECIAL)
    one = [link.one(value) for value in SPECIAL.tolist()]
    assert all(type(value) is float for value in one)
    assert many.dtype == np.float64
    np.testing.assert_allclose(one, many, rtol=1e-15)


def test_values_that_the_formulas_fix():
    assert link_function("LF_SIGMOID_RAW").one(-1000.0) == 0.0
    assert math.isnan(link_function("LF_SIGMOID_T1").one(math.nan))
    assert link_function("LF_SIGMOID_T3").one(4.0) == 1.0
    assert link_function("LF_SIGMOID_SEG5").one(math.nan) == 0.0
    assert link_function("LF_EXP_TAYLOR", 5).one(-1.5) == pytest.approx(0.21517685362937633, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "exp_iters", "code"),
    [
        ("LF_EXP_TAYLOR", 0, ErrorCode.LOGIC_ERROR),
        ("LF_EXP_TAYLOR", -1, ErrorCode.LOGIC_ERROR),
        ("LF_EXP_TAYLOR", 1024, ErrorCode.LOGIC_ERROR),
        ("lf_identity", 0, ErrorCode.UNEXPECTED_ERROR),
        ("UNKNOWN_LF_TYPE", 0, ErrorCode.UNEXPECTED_ERROR),
        ("", 0, ErrorCode.UNEXPECTED_ERROR),
    ],
)
def test_refuse_what_can_only_fail(name, exp_iters, code):
    with pytest.raises(GraphError) as raised:
        link_function(name, exp_iters)
    assert raised.value.code == code


def test_taylor_is_refused_where_an_operator_has_no_exp_iters():
    with pytest.raises(GraphError) as raised:
        link_function("LF_EXP_TAYLOR", 8, allow_taylor=False)
    assert raised.value.code == ErrorCode.UNEXPECTED_ERROR
