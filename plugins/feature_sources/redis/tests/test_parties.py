"""Two parties whose features come from a real Redis."""

from __future__ import annotations

from sfs_core import ErrorCode
from tests.support.same_scores import columns_of, two_parties

IDS, COLUMNS = columns_of()


def test_scores_are_those_of_csv(store, server, tmp_path, monkeypatch):
    """Rows hold their ids; the account comes from the environment and a file."""
    monkeypatch.setenv("SFS_TEST_REDIS_USER", "sfs")
    (tmp_path / "password").write_text("p:a/s@s\n")
    store.acl_setuser(
        "sfs", enabled=True, passwords=["+p:a/s@s"], categories=["+@read"], commands=["+ping"], keys=["*"]
    )
    for party, columns in COLUMNS.items():
        with store.pipeline(transaction=False) as pipeline:
            for id_, *row in zip(IDS, *columns.values(), strict=True):
                texts = dict(zip(columns, map(repr, row), strict=True))
                pipeline.hset(f"{party}:{id_}", mapping=texts | {"customer": id_})
            pipeline.execute()
    account = {"user": "${env:SFS_TEST_REDIS_USER}", "password": "${file:password}"}
    options = {"name": "redis", "url": server.url, **account, "id_field": "customer", "timeout": 60}
    features = {party: {"source": {**options, "key": party + ":{id}"}} for party in COLUMNS}
    with two_parties(tmp_path, IDS, COLUMNS, features.__getitem__) as parties:
        parties.assert_same_scores()
        store.acl_deluser("sfs")  # nobody but this account has been asked with
        assert parties.ask("other", IDS[:1]).code == ErrorCode.FS_UNAUTHENTICATED
