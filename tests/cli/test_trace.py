from __future__ import annotations

from pathlib import Path

import pytest

from sfs_core.cli import main
from sfs_core.config.telemetry import Tracing
from sfs_core.errors import ErrorCode
from sfs_core.observe.tracing import Tracer


@pytest.fixture
def request_id(tmp_path: Path) -> str:
    """Of a request whose two parties wrote `alice.log` and `bob.log`."""
    alice = Tracer("alice", Tracing(file=tmp_path / "alice.log"))
    bob = Tracer("bob", Tracing(file=tmp_path / "bob.log"))
    other = alice.start("PredictionService/Predict", "server", "svc", None, {})
    predict = alice.start("PredictionService/Predict", "server", "svc", None, {})
    ask = alice.start("ExecutionService/Execute: alice-bob", "client", "svc", predict.context, {})
    answer = bob.start("ExecutionService/Execute", "server", "svc", ask.context, {})
    answer.end(ErrorCode.FS_NOT_FOUND, "1 row is missing")
    ask.end()
    predict.end()
    other.end()
    alice.close()
    bob.close()
    return predict.context.trace_id


def test_steps_of_all_parties_make_one_tree(
    tmp_path: Path, request_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with (tmp_path / "bob.log").open("a") as file:
        file.write("no JSON\n{}\n[]\n")
    assert main(["trace", request_id.upper(), str(tmp_path / "bob.log"), str(tmp_path / "alice.log")]) == 0
    _, predict, ask, answer = capsys.readouterr().out.splitlines()
    assert predict.endswith("  alice  PredictionService/Predict")
    assert ask.endswith("  alice    ExecutionService/Execute: alice-bob")
    assert answer.split("  ")[2:5] == ["bob", "", ""]
    assert answer.endswith("      ExecutionService/Execute           code: 103, msg: 1 row is missing")
    assert predict.startswith("█" * 40)
    assert {len(line.split()[0]) for line in (predict, ask, answer)} == {40}


def test_one_party_s_file_will_do(tmp_path: Path, request_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", request_id, str(tmp_path / "bob.log")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize(
    ("id_", "file", "message"),
    [
        ("no id", "alice.log", "up to 32 hex digits"),
        ("abc", "alice.log", "no file has a step of this request"),
        ("abc", "missing.log", "cannot be read"),
    ],
)
@pytest.mark.usefixtures("request_id")
def test_what_cannot_be_shown_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], id_: str, file: str, message: str
) -> None:
    assert main(["trace", id_, str(tmp_path / file)]) == 1
    assert message in capsys.readouterr().err
