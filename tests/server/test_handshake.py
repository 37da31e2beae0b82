"""What a party is told that gives up waiting for another one."""

from __future__ import annotations

import pytest

from sfs_core.errors import PeerError
from sfs_core.link.outgoing import TransportError
from sfs_core.link.retry import FailureKind
from sfs_core.proto.apis_pb2 import GetModelInfoResponse
from sfs_core.proto.serving_pb2 import ModelInfo
from sfs_core.server.handshake import Patience, agree


class Away:
    def __init__(self, kind: FailureKind) -> None:
        self.kind = kind

    async def model_info(self, service: str, timeout: float, version: str = "") -> GetModelInfoResponse:
        raise TransportError("peer 'bob' is not there", self.kind)


@pytest.mark.parametrize(("kind", "told"), [(FailureKind.NOT_RUN, "address"), (FailureKind.UNTRUSTED, "ca_file")])
async def test_the_hint_is_about_what_went_wrong(kind: FailureKind, told: str) -> None:
    with pytest.raises(PeerError, match="did not answer the handshake") as caught:
        await agree("alice", "credit", ModelInfo(), "", {"bob": Away(kind)}, Patience(1, 0.01, 1))
    assert told in caught.value.hint
