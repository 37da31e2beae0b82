"""Writes docs/metrics.md and docs/errors.md from the code: python tests/docs/generate_tables.py"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from sfs_core.observe.server_metrics import ServerMetrics
from sfs_core.server.gauges import add_gauges, add_worker_metrics
from sfs_core.server.readiness import Readiness
from sfs_core.server.served import ServedModels

ROOT = Path(__file__).parents[2]
METRICS = ROOT / "docs" / "metrics.md"
ERRORS = ROOT / "docs" / "errors.md"
_KINDS = {"counter": "counter", "gauge": "gauge", "distribution": "histogram"}

_METRICS_HEAD = """\
# Metrics

What the port `listen.metrics` shows at `/metrics`. Values of labels are ids that are configured, and `unknown` for all
others; `code` is an [error code](errors.md), 1 for success. Names that begin with `sfs_` or `process_`, and histograms
called `…_duration_seconds`, are not among the reference's.

| Name | Kind | Labels | Meaning |
|---|---|---|---|
"""
_ERRORS_HEAD = """\
# Errors

An answer has `status.code` and `status.msg`, whatever the protocol; over HTTP its status is 200 then. The text begins
with the request's id, which the logs of all parties have.

| Code | Name | Meaning |
|---|---|---|
"""
_CALLS_HEAD = """
A call that is not answered at all fails as brpc numbers it: in the error code of `baidu_std`, in the HTTP header
`x-bd-error-code`, or as the gRPC status that fits.

| Code | Name | Meaning |
|---|---|---|
"""


def metrics_page() -> str:
    """Every metric of a server."""
    rows = []
    metrics = ServerMetrics("", [], [])
    models = ServedModels()
    add_gauges(metrics, models, Readiness("", models), dict)
    add_worker_metrics(metrics, int)
    for family in metrics.samples():
        kind = "summary, of the last minute" if family.summary else _KINDS[family.kind]
        labels = ", ".join(f"`{name}`" for name in [*family.constant, *family.labels])
        rows.append(f"| `{family.name}` | {kind} | {labels} | {family.help} |")
    return _METRICS_HEAD + "\n".join(rows) + "\n"


def errors_page() -> str:
    """Every code that callers and peers get."""
    answers = "\n".join(_members(ROOT / "sfs_core" / "errors.py", "ErrorCode"))
    calls = "\n".join(_members(ROOT / "sfs_core" / "link" / "rpc.py", "RpcCode"))
    return f"{_ERRORS_HEAD}{answers}\n{_CALLS_HEAD}{calls}\n"


def _members(path: Path, name: str) -> Iterator[str]:
    (cls,) = (node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef) and node.name == name)
    for member, text in zip(cls.body, cls.body[1:], strict=False):
        if isinstance(member, ast.Assign):
            assert isinstance(text, ast.Expr), f"{name}: a member needs a text after it"
            (target,) = member.targets
            yield f"| {ast.literal_eval(member.value)} | `{ast.unparse(target)}` | {ast.literal_eval(text.value)} |"


if __name__ == "__main__":
    METRICS.write_text(metrics_page())
    ERRORS.write_text(errors_page())
