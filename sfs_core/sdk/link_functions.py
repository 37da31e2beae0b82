"""Link functions of linear models and tree ensembles (`LinkFunctionType` of the reference).

Some polynomial coefficients are float32 literals in the reference, widened to float64 here, because scores must
agree to the last digits. All functions take and return float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from sfs_core.errors import ErrorCode, GraphError

__all__ = ["LINK_FUNCTIONS", "LinkFunction", "link_function"]

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LinkFunction:
    """A link function for arrays (`many`) and for one number (`one`)."""

    name: str
    many: Callable[[Vector], Vector]
    one: Callable[[float], float]


def link_function(name: str, exp_iters: int = 0, *, allow_taylor: bool = True) -> LinkFunction:
    """The link function called `name`.

    Args:
        name: a `LinkFunctionType` name, in the reference's case.
        exp_iters: n of LF_EXP_TAYLOR's (1 + x / 2^n)^(2^n); ignored by the others.
        allow_taylor: False where an operator has no `exp_iters`.

    Raises:
        GraphError: the name is unknown (code 2), or LF_EXP_TAYLOR lacks a positive `exp_iters` (code 7).
    """
    if name == "LF_EXP_TAYLOR" and allow_taylor:
        if not 0 < exp_iters <= 1023:
            raise GraphError(f"LF_EXP_TAYLOR needs 0 < exp_iters <= 1023, not {exp_iters}")
        return _vectorised(name, _exp_taylor(exp_iters))
    if name not in LINK_FUNCTIONS:
        raise GraphError(
            f"link function {name!r} is not known here",
            code=ErrorCode.UNEXPECTED_ERROR,
            hint=f"known: {', '.join(LINK_FUNCTIONS)}",
        )
    return LINK_FUNCTIONS[name]


def _vectorised(name: str, many: Callable[[Vector], Vector]) -> LinkFunction:
    def one(x: float) -> float:
        return float(many(np.array([x]))[0])

    return LinkFunction(name, many, one)


def _float32(value: float) -> float:
    return float(np.float32(value))


_MM3 = _float32(0.197), _float32(0.004)
_GA = _float32(0.15012), _float32(0.001593)
_T3, _T5, _T7, _T9 = _float32(1 / 48), _float32(1 / 480), _float32(17 / 80640), _float32(31 / 1451520)
_LS7: Final = (
    5.00052959e-01,
    2.35176260e-01,
    -3.97212202e-05,
    -1.23407424e-02,
    4.04588962e-06,
    3.94330487e-04,
    -9.74060972e-08,
    -4.74674505e-06,
)


def _sigmoid(x: Vector) -> Vector:
    result: Vector = 1.0 / (1.0 + np.exp(-x))
    return result


def _t3_polynomial(x: Vector) -> Vector:
    return 0.5 + 0.25 * x - _T3 * x**3


def _t5_polynomial(x: Vector) -> Vector:
    return _t3_polynomial(x) + _T5 * x**5


def _t7_polynomial(x: Vector) -> Vector:
    return _t5_polynomial(x) - _T7 * x**7


def _t3(x: Vector) -> Vector:
    return np.where(x < -2.0, 0.0, np.where(x > 2.0, 1.0, _t3_polynomial(x)))


def _ls7(x: Vector) -> Vector:
    result = np.full_like(x, _LS7[0])
    for power, coefficient in enumerate(_LS7[1:], 1):
        result += coefficient * x**power
    return result


def _seg3(x: Vector) -> Vector:
    return np.where(x > 4.0, 1.0, np.where(x < -4.0, 0.0, 0.5 + 0.125 * x))


def _seg5(x: Vector) -> Vector:
    cases = [x > 35.75, x > 3.75, x >= -3.75, x >= -35.75]
    values = [np.ones_like(x), 0.965087890625 + 0.0009765625 * x, 0.5 + 0.125 * x, 0.034912109375 + 0.0009765625 * x]
    return np.select(cases, values, 0.0)


def _sr(x: Vector) -> Vector:
    result: Vector = 0.5 * (x / np.sqrt(1.0 + x * x)) + 0.5
    return result


def _segls(x: Vector) -> Vector:
    return np.where(np.abs(x) <= 5.87, _ls7(x), _sr(x))


def _exp_taylor(exp_iters: int) -> Callable[[Vector], Vector]:
    power = 2.0**exp_iters
    return lambda x: np.power(1.0 + x / power, power)


def _one_sigmoid(x: float) -> float:
    try:
        return 1.0 / (1.0 + math.exp(-x))
    except OverflowError:
        return 0.0


def _one_sr(x: float) -> float:
    return 0.5 * (x / math.sqrt(1.0 + x * x)) + 0.5


_MANY: Final[dict[str, Callable[[Vector], Vector]]] = {
    "LF_EXP": np.exp,
    "LF_RECIPROCAL": np.reciprocal,
    "LF_IDENTITY": lambda x: x,
    "LF_SIGMOID_RAW": _sigmoid,
    "LF_SIGMOID_MM1": lambda x: 0.5 + 0.125 * x,
    "LF_SIGMOID_MM3": lambda x: 0.5 + _MM3[0] * x - _MM3[1] * x**3,
    "LF_SIGMOID_GA": lambda x: 0.5 + _GA[0] * x + _GA[1] * x**3,
    "LF_SIGMOID_T1": lambda x: np.clip(0.5 + 0.25 * x, 0.0, 1.0),
    "LF_SIGMOID_T3": _t3,
    "LF_SIGMOID_T5": lambda x: np.clip(_t5_polynomial(x), 0.0, 1.0),
    "LF_SIGMOID_T7": _t7_polynomial,
    "LF_SIGMOID_T9": lambda x: _t7_polynomial(x) + _T9 * x**9,
    "LF_SIGMOID_LS7": _ls7,
    "LF_SIGMOID_SEG3": _seg3,
    "LF_SIGMOID_SEG5": _seg5,
    "LF_SIGMOID_DF": lambda x: 0.5 * (x / (1.0 + np.abs(x))) + 0.5,
    "LF_SIGMOID_SR": _sr,
    "LF_SIGMOID_SEGLS": _segls,
}
# One number at a time, plain Python costs a tenth of NumPy; only for the common functions.
_ONE: Final[dict[str, Callable[[float], float]]] = {
    "LF_IDENTITY": lambda x: x,
    "LF_SIGMOID_RAW": _one_sigmoid,
    "LF_SIGMOID_T1": lambda x: min(max(0.5 + 0.25 * x, 0.0), 1.0),
    "LF_SIGMOID_SR": _one_sr,
}
LINK_FUNCTIONS: Final[dict[str, LinkFunction]] = {
    name: LinkFunction(name, many, _ONE[name]) if name in _ONE else _vectorised(name, many)
    for name, many in _MANY.items()
}
"""By name; LF_EXP_TAYLOR, which has a parameter, is made by `link_function`."""
