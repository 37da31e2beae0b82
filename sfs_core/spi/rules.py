"""What a feature service must do: one function per rule, which raises BrokenRuleError if it does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from sfs_core.codec.execution import MISSING_ROWS, PER_ROW
from sfs_core.proto import spis_pb2
from sfs_core.spi.exchange import Answer, BrokenRuleError, Exchange, read_answer
from sfs_core.spi.messages import SpiCode

__all__ = ["RULES", "NotJudgedError", "Rule", "Session"]

_KNOWN_CODES: Final = frozenset(map(int, SpiCode))
_ROUNDS: Final = 4
_MALFORMED: Final = (b'{"param": {"query_datas": ["', b"no JSON", b"[1, 2]")


class NotJudgedError(Exception):
    """Why a rule cannot be judged with what the probe says."""


class Session:
    """What is known of the service under judgement: how it answers the plain question, and the codes it uses."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.probe = exchange.probe
        self.codes: set[int] = set()
        self.plain: Answer | None = None

    def ask(
        self,
        ids: Sequence[str],
        features: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask, and note the code."""
        answer = self._exchange.ask(ids, features, headers)
        self.codes.add(answer.code)
        return answer

    def post(self, body: bytes) -> tuple[int, bytes]:
        """Post anything."""
        return self._exchange.post(body)

    @property
    def known(self) -> Answer:
        """The answer to the plain question."""
        assert self.plain is not None
        return self.plain

    def expect(self, ids: Sequence[str], answer: Answer) -> None:
        """Compare an answer to known ids with the plain one, row by row."""
        if answer.code:
            raise BrokenRuleError(f"status.code {answer.code}")
        place = {id_: i for i, id_ in enumerate(self.probe.ids)}
        for name in self.probe.features:
            column = self.known.columns[name]
            found = answer.columns.get(name)
            if found is None:
                raise BrokenRuleError(f"feature {name!r} is not there")
            if len(found) != len(ids):
                raise BrokenRuleError(f"feature {name!r} has {len(found)} values for {len(ids)} ids")
            for row, (id_, value) in enumerate(zip(ids, found, strict=True)):
                if not _same(value, column[place[id_]]):
                    raise BrokenRuleError(f"feature {name!r}, row {row}: another value than when asked plainly")


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of the SPI.

    Args:
        name: short.
        text: what the service must do.
        check: raises BrokenRuleError or NotJudgedError.
        needs: rules without which this one says nothing.
    """

    name: str
    text: str
    check: Callable[[Session], None]
    needs: tuple[str, ...] = ("answers", "features", "rows")


def _same(one: Any, other: Any) -> bool:
    return bool(one == other or (one != one and other != other))  # noqa: PLR0124  NaN


def _answers(session: Session) -> None:
    answer = session.ask(session.probe.ids)
    if answer.code:
        raise BrokenRuleError(f"status.code {answer.code} for ids that the probe says are known")
    if not answer.columns:
        raise BrokenRuleError("no features")
    session.plain = answer


def _features(session: Session) -> None:
    missing = [name for name in session.probe.features if name not in session.known.columns]
    if missing:
        raise BrokenRuleError(f"{', '.join(map(repr, missing[:5]))} is not there")


def _rows(session: Session) -> None:
    for name in session.probe.features:
        column = session.known.columns.get(name, [])
        if len(column) != len(session.probe.ids):
            raise BrokenRuleError(
                f"feature {name!r} has {len(column)} values for {len(session.probe.ids)} ids, "
                f"in the list of {session.known.types.get(name) or 'no known type'}"
            )


def _types(session: Session) -> None:
    for name, wanted in session.probe.features.items():
        found = session.known.types[name]
        if found != wanted:
            raise BrokenRuleError(f"feature {name!r} is {found}, {wanted} was asked for")


def _keys(session: Session) -> None:
    def walk(value: Any, descriptor: Any, path: str) -> None:
        fields = {name: each for each in descriptor.fields for name in (each.name, each.camelcase_name)}
        for key, inner in value.items():
            if key not in fields:
                raise BrokenRuleError(f"the key {path}{key} is not of the protocol")
            field = fields[key]
            if field.message_type is None or field.message_type.GetOptions().map_entry:
                continue
            for item in inner if isinstance(inner, list) else [inner]:
                if isinstance(item, dict):
                    walk(item, field.message_type, f"{path}{key}.")

    walk(session.known.document, spis_pb2.BatchFetchFeatureResponse.DESCRIPTOR, "")


def _subset(session: Session) -> None:
    if len(session.probe.features) < 2:
        raise NotJudgedError("the probe names one feature only")
    name, type_ = list(session.probe.features.items())[-1]
    answer = session.ask(session.probe.ids, {name: type_})
    values = answer.columns.get(name, [])
    if answer.code or len(values) != len(session.probe.ids):
        raise BrokenRuleError(f"status.code {answer.code}, {len(values)} values of feature {name!r} asked for alone")
    if not all(map(_same, values, session.known.columns[name])):
        raise BrokenRuleError(f"feature {name!r} has other values when it is asked for alone")


def _order(session: Session) -> None:
    columns = [session.known.columns[name] for name in session.probe.features]
    if all(_same(value, column[0]) for column in columns for value in column):
        raise NotJudgedError("the rows of the probe's ids are all alike")
    ids = session.probe.ids[::-1]
    session.expect(ids, session.ask(ids))


def _duplicates(session: Session) -> None:
    first, second, *_ = session.probe.ids
    ids = [second, first, second, second]
    session.expect(ids, session.ask(ids))


def _single(session: Session) -> None:
    for id_ in session.probe.ids[:3]:
        session.expect([id_], session.ask([id_]))


def _unknown_ids(session: Session) -> None:
    first, second, *_ = session.probe.ids
    for ids in ([session.probe.unknown_id], [first, session.probe.unknown_id, second]):
        if not session.ask(ids).code:
            raise BrokenRuleError(f"status.code 0 for {len(ids)} ids of which one is not known")


def _not_found(session: Session) -> None:
    code = session.ask([session.probe.ids[0], session.probe.unknown_id]).code
    if code != SpiCode.NOT_FOUND:
        raise BrokenRuleError(f"status.code {code}; callers can tell the cause by 5 only")


def _missing_rows(session: Session) -> None:
    first, second, *_ = session.probe.ids
    answer = session.ask([first, session.probe.unknown_id, second], headers={PER_ROW: "1"})
    if answer.code:
        raise NotJudgedError("the service does not say which ids it does not know, and need not")
    if answer.headers.get(MISSING_ROWS) != "010":
        raise BrokenRuleError(f"the header entry {MISSING_ROWS} is not a 0 or 1 for each id")
    session.expect([first, second], answer)


def _unknown_features(session: Session) -> None:
    wanted = {**session.probe.features, "sfs_spi_check_no_such_feature": "FIELD_DOUBLE"}
    if not session.ask(session.probe.ids, wanted).code:
        raise BrokenRuleError("status.code 0 though a feature asked for does not exist")


def _empty(session: Session) -> None:
    answer = session.ask([])
    if not answer.code and any(answer.columns.values()):
        raise BrokenRuleError("rows for no ids")


def _big_batch(session: Session) -> None:
    known = session.probe.ids
    ids = [known[i % len(known)] for i in range(session.probe.big_batch)]
    session.expect(ids, session.ask(ids))


def _malformed(session: Session) -> None:
    for body in _MALFORMED:
        status, said = session.post(body)
        if status >= 500:
            raise BrokenRuleError(f"HTTP status {status}; 400, or status.code 3, is expected")
        if 200 <= status < 300:
            try:
                code = read_answer(said).code
            except BrokenRuleError:
                code = 0
            if not code:
                raise BrokenRuleError("a body that is no request is answered like a request")
    session.expect(session.probe.ids, session.ask(session.probe.ids))


def _concurrency(session: Session) -> None:
    known, times = session.probe.ids, session.probe.concurrency * _ROUNDS

    def one(i: int) -> None:
        ids = [known[(i + k) % len(known)] for k in range(1 + i % len(known))]
        session.expect(ids, session.ask(ids))

    with ThreadPoolExecutor(session.probe.concurrency) as pool:
        list(pool.map(one, range(times)))


def _codes(session: Session) -> None:
    if strange := session.codes - _KNOWN_CODES:
        raise BrokenRuleError(f"status.code {min(strange)}; the protocol has 0, 3, 4, 5, 13 and 16")


RULES: Final = (
    Rule("answers", "known ids are answered with JSON, status.code 0 and features", _answers, ()),
    Rule("features", "every feature asked for is there, by its name", _features, ("answers",)),
    Rule("rows", "every feature has one value per id, in the list of its type", _rows, ("answers", "features")),
    Rule("types", "features have the type that was asked for", _types),
    Rule("keys", "answers hold no keys that the protocol lacks", _keys, ("answers",)),
    Rule("subset", "a feature asked for alone has the same values", _subset),
    Rule("order", "value i belongs to id i, in any order of ids", _order),
    Rule("duplicates", "an id that is asked for twice is answered twice", _duplicates),
    Rule("single", "a single id is answered like one of several", _single),
    Rule("unknown_ids", "an id that is not known is an error, no made-up row", _unknown_ids),
    Rule("not_found", "its status.code is 5", _not_found, ("answers", "features", "rows", "unknown_ids")),
    Rule(
        "missing_rows",
        f"asked with {PER_ROW}, it says which ids are not known, or it is an error",
        _missing_rows,
        ("answers", "features", "rows", "unknown_ids"),
    ),
    Rule("unknown_features", "a feature that is not known is an error", _unknown_features),
    Rule("empty", "no ids are answered without rows", _empty),
    Rule("big_batch", "many ids are answered in time and in order", _big_batch),
    Rule("malformed", "a body that is no request is refused, and the next request is answered", _malformed),
    Rule("concurrency", "requests at the same time get their own answers", _concurrency),
    Rule("codes", "status.code is always one of the protocol's", _codes, ("answers",)),
)
