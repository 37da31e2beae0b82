"""Small batches: a compiled computation as one Python function over rows of plain values.

The function is generated from fixed templates. What stands in its text is chosen here: variables by number, the
helpers below. Constants are bound as objects, and names of columns and functions do not occur, so nothing in a package
can reach the text. A computation that needs anything without a template has no such function.

The function gives Arrow's results, bit for bit, or gives up on the batch by raising one of `_GIVEN_UP`: where Arrow
fails, wraps around, makes a null or divides by zero, or where its result is not known. Rows hold no nulls.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from sfs_core import Batch, FeatureError, Schema

from .options import option_members
from .replay import Call, Program

__all__ = ["RowProgram"]

MOST_ROWS: Final = 150
"""Above it, Arrow's functions over columns become faster: from 180 rows on for the leanest recorded computations."""

_GIVEN_UP: Final = (ArithmeticError, TypeError, ValueError, FeatureError)
_MOST_CALLS: Final = 10_000  # they take 0.2 s and 30 MB to compile

RowFunction = Callable[[Sequence[Any]], list[Any]]


class RowProgram:
    """A program for batches of few rows; makes none of the conversions that Arrow needs."""

    def __init__(self, function: RowFunction, schema: Schema) -> None:
        self._function = function
        self._schema = schema

    @classmethod
    def of(cls, program: Program) -> RowProgram | None:
        """The same computation over rows; None where a function or a type has no template."""
        if program.samples is None or program.schema is None or len(program.calls) > _MOST_CALLS:
            return None
        try:
            return cls(_Writer(program, program.samples).function(), program.schema)
        except (_NotCoveredError, pa.ArrowException):  # Arrow's: of options that hold no text, say
            return None

    def run(self, table: Batch) -> Batch | None:
        """The resulting table, in rows form; None where Arrow must decide: many rows, nulls, or values given up on."""
        if table.num_rows > MOST_ROWS:
            return None
        try:
            rows = self._function(table.rows())
        except _GIVEN_UP:
            return None
        return Batch(self._schema, table.num_rows, None, None, rows)


# ---------------------------------------------------------------------- helpers of the generated functions
def _exact(value: int) -> float:
    if -(1 << 53) <= value <= 1 << 53:
        return float(value)
    raise OverflowError


def _fitting(low: int, high: int) -> Callable[[int], int]:
    def fit(value: int) -> int:
        if low <= value <= high:
            return value
        raise OverflowError

    return fit


def _quotient(dividend: int, divisor: int) -> int:
    """Division of integers that truncates."""
    quotient = abs(dividend) // abs(divisor)
    return quotient if (dividend < 0) is (divisor < 0) else -quotient


def _whole(value: float) -> int:
    whole = int(value)
    if whole != value:
        raise ValueError
    return whole


def _present(value: Any) -> Any:
    if value is None:
        raise TypeError
    return value


_FLOAT_TEXT: Final = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?(e-?[0-9]{1,2})?")
_INTEGER_TEXT: Final = re.compile(r"0|-?[1-9][0-9]{0,17}")


def _number(text: str, made: Callable[[str], Any], spelling: re.Pattern[str]) -> Any:
    """The number in a text of the plainest spelling: Python and Arrow take different ones beyond it."""
    if not spelling.fullmatch(text):
        raise ValueError
    return made(text)


def _signed(whole: int, value: float) -> float:
    return math.copysign(float(whole), value)


_FLOAT32: Final = Struct("f")


def _single(value: float, pack: Any = _FLOAT32.pack, unpack: Any = _FLOAT32.unpack) -> float:
    """Rounded to float32. After one operation on float32 numbers this equals the operation in float32."""
    rounded: float = unpack(pack(value))[0]
    return rounded


def _power(base: float, exponent: float) -> float:
    """Never of a NaN: the C library, which Arrow asks, tells signalling ones apart and Python does not."""
    if math.isnan(base) or math.isnan(exponent):
        raise ValueError
    return math.pow(base, exponent)


_INTEGERS: Final[dict[Any, tuple[int, int]]] = {
    pa.int8(): (-(1 << 7), (1 << 7) - 1),
    pa.int16(): (-(1 << 15), (1 << 15) - 1),
    pa.int32(): (-(1 << 31), (1 << 31) - 1),
    pa.int64(): (-(1 << 63), (1 << 63) - 1),
    pa.uint8(): (0, (1 << 8) - 1),
    pa.uint16(): (0, (1 << 16) - 1),
    pa.uint32(): (0, (1 << 32) - 1),
    pa.uint64(): (0, (1 << 64) - 1),
}

_HELPERS: Final[dict[str, Any]] = {
    "abs": abs,
    "ceil": math.ceil,
    "exact": _exact,
    "exp": math.exp,
    "float": float,
    "floor": math.floor,
    "int": int,
    "isfinite": math.isfinite,
    "isinf": math.isinf,
    "len": len,
    "log": math.log,
    "log10": math.log10,
    "log2": math.log2,
    "pow": _power,
    "present": _present,
    "parsed_float": lambda text: _number(text, float, _FLOAT_TEXT),
    "parsed_int": lambda text: _number(text, int, _INTEGER_TEXT),
    "quotient": _quotient,
    "round": round,
    "signed": _signed,
    "single": _single,
    "sqrt": math.sqrt,
    "str": str,
    "trunc": math.trunc,
    "whole": _whole,
    **{f"fit_{type_}": _fitting(*limits) for type_, limits in _INTEGERS.items()},
}


# ---------------------------------------------------------------------- templates, by Arrow's name of the function
_COMPARISONS: Final = {
    "equal": "{0} == {1}",
    "not_equal": "{0} != {1}",
    "less": "{0} < {1}",
    "less_equal": "{0} <= {1}",
    "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}",
}
_LOGIC: Final = {  # without nulls the Kleene variants are the same
    "and": "{0} and {1}",
    "and_kleene": "{0} and {1}",
    "and_not": "{0} and not {1}",
    "or": "{0} or {1}",
    "or_kleene": "{0} or {1}",
    "xor": "{0} != {1}",
    "invert": "not {0}",
}
_ARITHMETIC: Final = {
    "add": "{0} + {1}",
    "subtract": "{0} - {1}",
    "multiply": "{0} * {1}",
    "divide": "{0} / {1}",
    "negate": "-{0}",
    "abs": "abs({0})",
    "sqrt": "sqrt({0})",
}
_FLOAT64_ONLY: Final = {
    "ln": "log({0})",
    "log2": "log2({0})",
    "log10": "log10({0})",
    "logb": "log({0}, {1})",
    "exp": "exp({0})",
    "power": "pow({0}, {1})",
    "floor": "signed(floor({0}), {0})",
    "ceil": "signed(ceil({0}), {0})",
    "trunc": "signed(trunc({0}), {0})",
    "round": "signed(round({0}), {0})",
}
_ROUNDINGS: Final = ("floor", "ceil", "trunc", "round")
_TESTS: Final = {"is_nan": "{0} != {0}", "is_finite": "isfinite({0})", "is_inf": "isinf({0})"}

_BOOL: Final = pa.bool_()
_FLOAT64: Final = pa.float64()
_FLOATS: Final = (pa.float32(), _FLOAT64)
_TEXTS: Final = (pa.utf8(), pa.large_utf8())
_BINARIES: Final = (pa.binary(), pa.large_binary())
_PLAIN: Final = frozenset([_BOOL, *_FLOATS, *_TEXTS, *_BINARIES, *_INTEGERS])

# Python's grammar nests what stands behind `else`; longer lists of cases are cut.
_MOST_BRANCHES: Final = 50
_VARIABLE: Final = re.compile(r"\b[vt]\d+\b")


class _NotCoveredError(Exception):
    """There is no template."""


@dataclass(frozen=True, slots=True)
class _Value:
    """Python text that gives a value of an Arrow type: a name, or a comparison in parentheses."""

    text: str
    type: Any


@dataclass(frozen=True, slots=True)
class _Statement:
    """`target = text`. Arrow may fail where `may_fail` is set, so it stays even if nothing needs the result."""

    target: str
    text: str
    may_fail: bool


class _Writer:
    """Writes the function. Variables are `v` and a slot's number, or `t` and a number; constants `c` and a number."""

    def __init__(self, program: Program, samples: Sequence[Any]) -> None:
        self._program = program
        self._samples = samples
        self._uses = Counter(slot for call in program.calls for slot in call.inputs)
        self._uses.update(field.slot for field in program.result)
        self._values: dict[int, _Value] = {}
        self._structs: dict[int, tuple[int, ...]] = {}
        self._converted: dict[tuple[str, Any], _Value] = {}
        self._constants: dict[str, Any] = {}
        self._statements: list[_Statement] = []

    def function(self) -> RowFunction:
        """The function from rows to rows.

        Raises:
            _NotCoveredError: something has no template.
        """
        for slot in range(self._program.width):
            self._values[slot] = _Value(f"v{slot}", self._samples[slot].type)
        for call in self._program.calls:
            self._write(call)
        result = [self._value(field.slot).text for field in self._program.result]
        statements = self._needed(result)
        columns = "".join(f"v{slot}, " for slot in range(self._program.width))
        lines = [
            "def function(rows):",
            " result = []",
            f" for ({columns}) in rows:",
            *[f"  {statement.target} = {statement.text}" for statement in statements],
            f"  result.append(({''.join(f'{text}, ' for text in result)}))",
            " return result",
        ]
        namespace = {"__builtins__": {}, **_HELPERS, **self._constants}
        exec(compile("\n".join(lines), "<rows>", "exec"), namespace)  # noqa: S102 - only the texts of this module
        function: RowFunction = namespace["function"]
        return function

    def _needed(self, result: Sequence[str]) -> list[_Statement]:
        """The statements, without those that no result needs."""
        needed = {name for text in result for name in _VARIABLE.findall(text)}
        kept = []
        for statement in reversed(self._statements):
            if statement.may_fail or statement.target in needed:
                kept.append(statement)
                needed.update(_VARIABLE.findall(statement.text))
        return kept[::-1]

    # ------------------------------------------------------------------ values
    def _value(self, slot: int) -> _Value:
        known = self._values.get(slot)
        if known is None:
            sample = self._samples[slot]
            if not isinstance(sample, pa.Scalar) or not sample.is_valid:
                raise _NotCoveredError
            known = self._values[slot] = self._constant(sample.as_py(), sample.type)
        if known.type not in _PLAIN:
            raise _NotCoveredError
        return known

    def _constant(self, value: Any, type_: Any) -> _Value:
        name = f"c{len(self._constants)}"
        self._constants[name] = value
        return _Value(name, type_)

    def _assign(self, text: str, type_: Any, *, may_fail: bool = False) -> _Value:
        target = f"t{len(self._statements)}"
        self._statements.append(_Statement(target, text, may_fail))
        return _Value(target, type_)

    def _convert(self, value: _Value, target: Any) -> _Value:
        """The value as Arrow converts it where a function needs another type than it is given."""
        helper = _conversion(value.type, target)
        if helper is None:
            return _Value(value.text, target)
        key = value.text, target
        if key not in self._converted:
            if value.text in self._constants:
                try:
                    constant = _HELPERS[helper](self._constants[value.text])
                except OverflowError:
                    raise _NotCoveredError from None
                self._converted[key] = self._constant(constant, target)
            else:
                self._converted[key] = self._assign(f"{helper}({value.text})", target, may_fail=helper != "float")
        return self._converted[key]

    # ------------------------------------------------------------------- calls
    def _write(self, call: Call) -> None:
        name = call.function.name
        if call.only_scalars:
            return  # Arrow has computed it
        if name == "make_struct":
            self._structs[call.output] = call.inputs
        elif name == "case_when":
            self._values[call.output] = self._case_when(call)
        else:
            self._values[call.output] = self._result(name, call)

    def _result(self, name: str, call: Call) -> _Value:
        values = [self._value(slot) for slot in call.inputs]
        output = self._samples[call.output].type
        checked = name.endswith("_checked")
        name = name.removesuffix("_checked")
        if name in _COMPARISONS:
            return self._comparison(call, values)
        if name in _LOGIC:
            return self._assign(_filled(_LOGIC[name], values), _BOOL)
        if name in _ARITHMETIC:
            return self._arithmetic(name, values, output, checked)
        if name in _FLOAT64_ONLY:
            return self._float64(name, call, values, output, checked)
        if name in _TESTS and values[0].type in _FLOATS:
            return self._assign(_filled(_TESTS[name], values), _BOOL)
        if call.function.name in _SPECIAL:
            return _SPECIAL[name](self, call, values, output)
        raise _NotCoveredError

    def _comparison(self, call: Call, values: Sequence[_Value]) -> _Value:
        type_ = _common_type(values)
        text = _filled(_COMPARISONS[call.function.name], [self._convert(value, type_) for value in values])
        # Read in one place only, it can stand there: often it need not be computed then.
        return _Value(f"({text})", _BOOL) if self._uses[call.output] == 1 else self._assign(text, _BOOL)

    def _arithmetic(self, name: str, values: Sequence[_Value], output: Any, checked: bool) -> _Value:
        converted = [self._convert(value, output) for value in values]
        if output in _INTEGERS:
            template = "quotient({0}, {1})" if name == "divide" else _ARITHMETIC[name]
            return self._assign(f"fit_{output}({_filled(template, converted)})", output, may_fail=True)
        if output not in _FLOATS:
            raise _NotCoveredError
        text = _filled(_ARITHMETIC[name], converted)
        if output != _FLOAT64 and name not in ("negate", "abs"):
            text = f"single({text})"
        return self._assign(text, output, may_fail=checked)

    def _float64(self, name: str, call: Call, values: Sequence[_Value], output: Any, checked: bool) -> _Value:
        if call.options is not None and call.options != pc.RoundOptions():
            raise _NotCoveredError
        if output in _INTEGERS and name in _ROUNDINGS and values[0].type == output:
            return values[0]
        if output != _FLOAT64:
            raise _NotCoveredError
        converted = [self._convert(value, output) for value in values]
        return self._assign(_filled(_FLOAT64_ONLY[name], converted), output, may_fail=checked)

    def _case_when(self, call: Call) -> _Value:
        output = self._samples[call.output].type
        if call.inputs[0] not in self._structs:
            raise _NotCoveredError
        conditions = [self._value(slot).text for slot in self._structs[call.inputs[0]]]
        values = [self._convert(self._value(slot), output).text for slot in call.inputs[1:]]
        complete = len(values) > len(conditions)
        otherwise = values[-1] if complete else self._constant(None, output).text
        branches = [f"{value} if {condition} else " for condition, value in zip(conditions, values, strict=False)]
        for start in reversed(range(0, len(branches), _MOST_BRANCHES)):
            text = "".join(branches[start : start + _MOST_BRANCHES]) + otherwise
            otherwise = self._assign(text, output).text
        return _Value(otherwise, output) if complete else self._assign(f"present({otherwise})", output)

    def _if_else(self, _: Call, values: Sequence[_Value], output: Any) -> _Value:
        condition, (yes, no) = values[0], [self._convert(value, output) for value in values[1:]]
        if condition.text in self._constants:
            return yes if self._constants[condition.text] else no
        return self._assign(f"{yes.text} if {condition.text} else {no.text}", output)

    def _is_null(self, call: Call, values: Sequence[_Value], _: Any) -> _Value:
        if call.options is not None and call.options == pc.NullOptions(nan_is_null=True) and values[0].type in _FLOATS:
            return self._assign(_filled(_TESTS["is_nan"], values), _BOOL)
        return self._constant(False, _BOOL)

    def _is_valid(self, _: Call, __: Sequence[_Value], ___: Any) -> _Value:
        return self._constant(True, _BOOL)

    def _coalesce(self, call: Call, values: Sequence[_Value], output: Any) -> _Value:
        first, *_ = [self._convert(value, output) for value in values]  # any of them may fail
        return first

    def _cast(self, call: Call, values: Sequence[_Value], output: Any) -> _Value:
        (value,) = values
        if call.options is None or not call.options.is_safe():
            raise _NotCoveredError
        if value.type == _FLOAT64 and output == pa.float32():
            return self._assign(f"single({value.text})", output)
        if value.type in _FLOATS and output in _INTEGERS:
            return self._assign(f"fit_{output}(whole({value.text}))", output, may_fail=True)
        if value.type == _BOOL and (output in _INTEGERS or output in _FLOATS):
            return self._assign(f"{'int' if output in _INTEGERS else 'float'}({value.text})", output)
        if value.type in _TEXTS and output == _FLOAT64:
            return self._assign(f"parsed_float({value.text})", output, may_fail=True)
        if value.type in _TEXTS and output in _INTEGERS:
            return self._assign(f"fit_{output}(parsed_int({value.text}))", output, may_fail=True)
        if value.type in _INTEGERS and output in _TEXTS:
            return self._assign(f"str({value.text})", output)
        return self._convert(value, output)

    def _utf8_length(self, _: Call, values: Sequence[_Value], output: Any) -> _Value:
        return self._assign(f"len({_text_of(values)})", output)

    def _utf8_trim(self, call: Call, values: Sequence[_Value], output: Any) -> _Value:
        characters = self._constant(option_members(call.options)["characters"].cast(pa.utf8()).as_py(), output)
        return self._assign(f"{_text_of(values)}.strip({characters.text})", output)

    def _utf8_slice(self, call: Call, values: Sequence[_Value], output: Any) -> _Value:
        members = option_members(call.options)
        start, stop, step = (members[name].as_py() for name in ("start", "stop", "step"))
        if start < 0 or stop < start or step != 1:
            raise _NotCoveredError
        part = self._constant(slice(start, stop), output)
        return self._assign(f"{_text_of(values)}[{part.text}]", output)

    def _is_in(self, call: Call, values: Sequence[_Value], _: Any) -> _Value:
        wanted = option_members(call.options)["value_set"].values
        type_ = values[0].type
        if wanted.type != type_ or not (type_ in _INTEGERS or type_ in _TEXTS):
            raise _NotCoveredError
        known = self._constant(frozenset(wanted.to_pylist()), type_)
        return self._assign(f"{values[0].text} in {known.text}", _BOOL)


_SPECIAL: Final[dict[str, Callable[[_Writer, Call, Sequence[_Value], Any], _Value]]] = {
    "if_else": _Writer._if_else,
    "is_null": _Writer._is_null,
    "is_valid": _Writer._is_valid,
    "coalesce": _Writer._coalesce,
    "cast": _Writer._cast,
    "utf8_length": _Writer._utf8_length,
    "utf8_trim": _Writer._utf8_trim,
    "utf8_slice_codeunits": _Writer._utf8_slice,
    "is_in": _Writer._is_in,
}


def _filled(template: str, values: Sequence[_Value]) -> str:
    return template.format(*[value.text for value in values])


def _text_of(values: Sequence[_Value]) -> str:
    if values[0].type not in _TEXTS:
        raise _NotCoveredError
    return values[0].text


def _common_type(values: Sequence[_Value]) -> Any:
    """The type in which Arrow compares."""
    try:
        return pc.coalesce(*[pa.array([], value.type) for value in values]).type
    except pa.ArrowException:
        raise _NotCoveredError from None


def _conversion(source: Any, target: Any) -> str | None:
    """The helper that converts as Arrow does, giving up where Arrow fails; None where a Python value stays as it is."""
    if source in _INTEGERS and target in _INTEGERS:
        (low, high), (lowest, highest) = _INTEGERS[source], _INTEGERS[target]
        return None if lowest <= low and high <= highest else f"fit_{target}"
    if source in _INTEGERS and target == _FLOAT64:
        return "exact" if source in (pa.int64(), pa.uint64()) else "float"
    widened = source in _FLOATS and target == _FLOAT64
    if source == target or widened or any(source in kind and target in kind for kind in (_TEXTS, _BINARIES)):
        return None
    raise _NotCoveredError
