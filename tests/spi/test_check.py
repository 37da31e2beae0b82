"""The battery: a service that keeps all rules passes, and each saboteur fails exactly the rule that it breaks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from sfs_core.errors import ConfigError
from sfs_core.spi import Probe, check, check_service
from sfs_core.spi.rules import RULES

from .conftest import Answer, good_answer, serving

Asked = Any


def ids_of(asked: Asked) -> list[str]:
    return asked["param"]["query_datas"] if isinstance(asked, dict) and "param" in asked else []


def is_plain(asked: Asked) -> bool:
    return len(ids_of(asked)) == 12 and len(asked["feature_fields"]) == 3 and ids_of(asked)[0] == "u0"


def changed(asked: Asked, change: Callable[[Any], object]) -> Answer:
    status, answer = good_answer(asked)
    if isinstance(answer, dict) and answer.get("features"):
        change(answer)
    return status, answer


def answers(asked: Asked) -> Answer:
    return (200, b"<html>") if is_plain(asked) else good_answer(asked)


def features(asked: Asked) -> Answer:
    return changed(asked, lambda answer: answer["features"][0]["field"].update(name="Age"))


def rows(asked: Asked) -> Answer:
    return changed(asked, lambda answer: answer["features"][1]["value"]["ds"].pop())


def types(asked: Asked) -> Answer:
    def change(answer: Any) -> None:
        for feature in answer["features"]:
            if feature["field"]["name"] == "age":
                feature["field"]["type"], feature["value"] = 3, {"i64s": feature["value"]["i32s"]}

    return changed(asked, change)


def keys(asked: Asked) -> Answer:
    return changed(asked, lambda answer: answer["features"][0]["value"].update(count=12))


def subset(asked: Asked) -> Answer:
    alone = len(asked["feature_fields"]) == 1 if isinstance(asked, dict) and "param" in asked else False
    return (
        changed(asked, lambda answer: answer["features"][0]["value"]["ss"].reverse()) if alone else good_answer(asked)
    )


def order(asked: Asked) -> Answer:
    """Answers in the order of the table, as a query without ORDER BY does; but only when rows are turned round."""
    if ids_of(asked)[:1] == ["u11"] and len(set(ids_of(asked))) == 12 and ids_of(asked)[1] == "u10":
        asked["param"]["query_datas"].sort(key=lambda id_: int(id_[1:]))
    return good_answer(asked)


def duplicates(asked: Asked) -> Answer:
    """Leaves repeats out, as `IN` does."""
    if 0 < len(ids_of(asked)) < 12:
        asked["param"]["query_datas"] = list(dict.fromkeys(ids_of(asked)))
    return good_answer(asked)


class Single:
    """Fails for a single id, until requests come at the same time."""

    def __init__(self) -> None:
        self._failures = 0

    def __call__(self, asked: Asked) -> Answer:
        if len(ids_of(asked)) == 1 and ids_of(asked)[0] == "u0" and not self._failures:
            self._failures += 1
            return 500, b"list index out of range"
        return good_answer(asked)


def unknown_ids(asked: Asked) -> Answer:
    """Makes rows up."""
    if ids_of(asked):
        asked["param"]["query_datas"] = [id_ if id_[0] == "u" else "u0" for id_ in ids_of(asked)]
    return good_answer(asked)


def not_found(asked: Asked) -> Answer:
    status, answer = good_answer(asked)
    return status, {"status": {"code": 13}} if answer == {"status": {"code": 5}} else answer


def missing_rows(asked: Asked) -> Answer:
    """Marks the ids that it knows."""

    def change(answer: Any) -> None:
        data = answer["header"]["data"]
        data.update({name: marks.translate({48: "1", 49: "0"}) for name, marks in data.items()})

    return changed(asked, change)


def unknown_features(asked: Asked) -> Answer:
    """Leaves them out."""
    if isinstance(asked, dict) and "param" in asked:
        asked["feature_fields"] = [each for each in asked["feature_fields"] if "no_such" not in each["name"]]
    return good_answer(asked)


def empty(asked: Asked) -> Answer:
    """Everybody, where nobody is asked for."""
    if isinstance(asked, dict) and "param" in asked and not ids_of(asked):
        asked["param"]["query_datas"] = ["u0", "u1"]
    return good_answer(asked)


def big_batch(asked: Asked) -> Answer:
    return (413, b"") if len(ids_of(asked)) > 100 else good_answer(asked)


def malformed(asked: Asked) -> Answer:
    return (500, b"Traceback") if asked is None else good_answer(asked)


class Concurrency:
    """Keeps the ids of a request where the next one finds them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way = 0
        self._several = threading.Event()

    def __call__(self, asked: Asked) -> Answer:
        with self._lock:
            self._under_way += 1
            mixed = self._under_way > 1
        if mixed:
            self._several.set()
        elif 0 < len(ids_of(asked)) < 12:
            self._several.wait(0.05)  # lets another one in, if there is one
        with self._lock:
            self._under_way -= 1
        return (200, {"status": {"code": 13}}) if mixed else good_answer(asked)


def codes(asked: Asked) -> Answer:
    status, answer = good_answer(asked)
    return status, {"status": {"code": 77}} if answer == {"status": {"code": 3}} else answer


SABOTEURS: dict[str, Callable[[Asked], Answer]] = {
    "answers": answers,
    "features": features,
    "rows": rows,
    "types": types,
    "keys": keys,
    "subset": subset,
    "order": order,
    "duplicates": duplicates,
    "single": Single(),
    "unknown_ids": unknown_ids,
    "not_found": not_found,
    "missing_rows": missing_rows,
    "unknown_features": unknown_features,
    "empty": empty,
    "big_batch": big_batch,
    "malformed": malformed,
    "concurrency": Concurrency(),
    "codes": codes,
}


@pytest.fixture(autouse=True)
def short_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "_MOST_REQUESTS", 2)


def test_a_good_service_passes(probe: dict[str, Any]) -> None:
    with serving(good_answer) as url:
        report = check_service(url, Probe(**probe))
    assert report.passed
    assert [(verdict.rule, verdict.outcome) for verdict in report.verdicts] == [(rule.name, "pass") for rule in RULES]
    assert [(latency.rows, latency.requests) for latency in report.latencies] == [(1, 2), (10, 2), (100, 2)]


@pytest.mark.parametrize("rule", [rule.name for rule in RULES])
def test_a_saboteur_fails_exactly_its_rule(rule: str, probe: dict[str, Any]) -> None:
    with serving(SABOTEURS[rule]) as url:
        report = check_service(url, Probe(**probe))
    assert not report.passed
    assert [verdict.rule for verdict in report.verdicts if verdict.outcome == "fail"] == [rule]
    for verdict in report.verdicts:
        assert bool(verdict.reason) == (verdict.outcome != "pass")


def test_services_need_not_say_which_ids_they_do_not_know(probe: dict[str, Any]) -> None:
    def fails(asked: Asked) -> Answer:
        if isinstance(asked, dict) and "header" in asked:
            asked["header"]["data"].clear()
        return good_answer(asked)

    with serving(fails) as url:
        report = check_service(url, Probe(**probe))
    assert report.passed
    assert [verdict.rule for verdict in report.verdicts if verdict.outcome == "not judged"] == ["missing_rows"]


def test_services_that_are_not_there_or_hang(probe: dict[str, Any]) -> None:
    end = threading.Event()
    with serving(lambda _: (end.wait(), good_answer(None))[1]) as url:
        report = check_service(url, Probe(**probe | {"timeout": 0.1}))
        end.set()
    gone = check_service(url, Probe(**probe | {"timeout": 0.5}))
    for each in (report, gone):
        assert {verdict.outcome for verdict in each.verdicts if verdict.rule != "answers"} == {"not judged"}
        assert each.verdicts[0].reason.startswith("no answer after")
        assert not each.latencies


def test_rules_that_the_probe_cannot_judge(probe: dict[str, Any]) -> None:
    def alike(asked: Asked) -> Answer:
        if all(id_ in probe["ids"] for id_ in ids_of(asked)):
            asked["param"]["query_datas"] = ["u0"] * len(ids_of(asked))
        return good_answer(asked)

    with serving(alike) as url:
        report = check_service(url, Probe(**probe | {"features": {"age": "FIELD_INT32"}}))
    outcomes = {verdict.rule: verdict.outcome for verdict in report.verdicts}
    assert (outcomes["order"], outcomes["subset"]) == ("not judged", "not judged")


@pytest.mark.parametrize("url", ["", "host/path", "ftp://host/", "http://", "http://host:99999/"])
def test_urls_that_are_wrong(url: str, probe: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        check_service(url, Probe(**probe))


@pytest.mark.parametrize(
    "options",
    [{"ids": ["a", "b"]}, {"ids": ["a", "b", "a"]}, {"features": {}}, {"features": {"x": "INT"}}, {"unknown_id": "u1"}],
)
def test_probes_that_are_wrong(options: dict[str, Any], probe: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Probe(**probe | options)
