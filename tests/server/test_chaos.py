"""Real processes under steady load while things go wrong: every answer is right or a coded error, and in time.

`benchmarks/chaos.py` does it for minutes, with replicas and with peers that die; for these see also
`test_three_parties.py` and `test_replicas.py`.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.support.chaos import PEER_FAULTS, SURROUNDINGS, chaos


def test_every_answer_is_right_or_a_coded_error(tmp_path: Path) -> None:
    with chaos(tmp_path) as cluster:

        async def strike_with_all() -> None:
            with cluster.second_alice():
                for fault in (*PEER_FAULTS, *SURROUNDINGS):
                    samples = await cluster.strike(fault)
                    assert samples.problems.keys() <= fault.problems, fault.name
            await cluster.load.close()

        asyncio.run(strike_with_all())
        right, refused = len(cluster.samples.latencies), cluster.samples.problems["code 4"]
        assert cluster.asked() == {"1": right, "4": refused}  # none lost, none answered twice
        assert refused >= len(PEER_FAULTS)
        slow = [json.loads(line) for line in cluster.parties["alice"].log.read_text().splitlines() if "slow re" in line]
        for step in ("execution_0_at_bob_ms", "features_ms"):
            assert any(line[step] > 500 for line in slow)
        assert all(line["waiting_ms"] < line["milliseconds"] for line in slow)
        for party in cluster.parties.values():
            assert party.process.poll() is None
            assert "Traceback" not in party.log.read_text()
