"""What it costs to know, limit and write down the caller of a request.

    .venv/bin/python benchmarks/gate_cost.py

One process, no network: a request with an API key and one id of this party passes the gate, is counted against every
limit, and is written to the audit log; twenty requests make a turn of the event loop. The best of many runs counts.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import sys
import tempfile
import time
from pathlib import Path

from sfs_auth_api_key.authenticator import ApiKeys, ApiKeysConfig

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sfs_core import AuthenticatorContext
from sfs_core.config.callers import CallerLimits, Callers
from sfs_core.link.rpc import CallInfo, Encoding
from sfs_core.observe.audit import AuditLog
from sfs_core.server.gate import Gate

RUNS, TURNS, REQUESTS = 300, 5, 20
KEY = "0123456789abcdef0123456789abcdef"
INFO = CallInfo(Encoding.JSON, "http", "", {"x-api-key": KEY})


async def microseconds(gate: Gate, ids: list[str]) -> float:
    """Of a request."""
    best = float("inf")
    for _ in range(RUNS):
        begin = time.perf_counter()
        for _ in range(TURNS):
            for _ in range(REQUESTS):
                visit = gate.admit(INFO)
                visit.ask("credit", 1)
                visit.over("credit", 1, 1, "0af7651916cd43dd8448eb211c80319c", ids)
            await asyncio.sleep(0)
        best = min(best, time.perf_counter() - begin)
    return best / (TURNS * REQUESTS) * 1e6


async def main() -> None:
    """Measure, and print a table."""
    keys = {"shop": {"sha256": [hashlib.sha256(KEY.encode()).hexdigest()]}}
    context = AuthenticatorContext("alice", logging.getLogger("gate"), Path())
    authenticator = ApiKeys(ApiKeysConfig.model_validate({"keys": keys}), context)
    limited = CallerLimits(requests_per_second=1e9, concurrency=1000, rows_per_day=10**12)
    chosen = {"name": "api_key", "keys": keys}
    print("| | µs |\n|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        audit = AuditLog(Path(folder) / "audit.jsonl", KEY, 1 << 40)
        for name, limits, log in (
            ("API key", CallerLimits(), None),
            ("API key, limits", limited, None),
            ("API key, limits, audit log", limited, audit),
        ):
            settings = Callers.model_validate({"authenticators": [chosen], "limits": limits.model_dump()})
            print(f"| {name} | {await microseconds(Gate([authenticator], settings, log), ['customer-000001']):.1f} |")
        audit.close()


if __name__ == "__main__":
    asyncio.run(main())
