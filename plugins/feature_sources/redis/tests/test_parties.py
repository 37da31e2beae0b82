"""Two parties whose features come from a real Redis."""

from __future__ import annotations

from tests.support.same_scores import columns_of, two_parties

IDS, COLUMNS = columns_of()


def test_scores_are_those_of_csv(store, server, tmp_path):
    for party, columns in COLUMNS.items():
        with store.pipeline(transaction=False) as pipeline:
            for id_, *row in zip(IDS, *columns.values(), strict=True):
                pipeline.hset(f"{party}:{id_}", mapping=dict(zip(columns, map(repr, row), strict=True)))
            pipeline.execute()
    features = {
        party: {"source": {"name": "redis", "url": server.url, "key": party + ":{id}", "timeout": 60}}
        for party in COLUMNS
    }
    with two_parties(tmp_path, IDS, COLUMNS, features.__getitem__) as parties:
        parties.assert_same_scores()
