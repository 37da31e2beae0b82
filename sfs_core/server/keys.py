"""What operators need once the parties have agreed on a model: everybody's public keys, and time to prepare."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from sfs_core.errors import GraphError, SfsError
from sfs_core.model.graph import Graph
from sfs_core.model.validation import CheckedGraph
from sfs_core.proto.serving_pb2 import ModelInfo
from sfs_core.sdk.operator import Cluster, Operator

__all__ = ["Preparation", "check_keys", "cluster_of", "prepare_operators"]

logger = logging.getLogger("sfs.load")

TELL_SECONDS: Final = 2.0
"""Between two words about a preparation; one that is over sooner gets none."""


class Preparation:
    """How far the operators of a model are with what they make of the parties' keys.

    Args:
        service: the model's.
        operators: how many there are.
        clock: seconds.
    """

    def __init__(self, service: str, operators: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._service, self._operators, self._clock = service, operators, clock
        self._done = 0.0
        self._began = clock()
        self._next = self._began + TELL_SECONDS

    @property
    def share(self) -> float:
        """What part of the operators are ready, 0 to 1."""
        return min(self._done / self._operators, 1.0) if self._operators else 1.0

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes if it goes on like this; None where that cannot be told yet."""
        elapsed, share = self._clock() - self._began, self.share
        return elapsed * (1 - share) / share if share else None

    def inside(self, done: int, total: int) -> None:
        """An operator tells how far it is."""
        self._reach(int(self._done) + min(done / total, 0.99) if total > 0 else self._done)

    def finished_one(self) -> None:
        """An operator is ready."""
        self._reach(int(self._done) + 1.0)

    def finish(self) -> None:
        """All are."""
        if (elapsed := self._clock() - self._began) > TELL_SECONDS:
            logger.info("%s: its operators are prepared, which took %.1f s", self._service, elapsed)

    def _reach(self, done: float) -> None:
        self._done = done
        if self._clock() >= self._next:
            self._next = self._clock() + TELL_SECONDS
            left = self.seconds_left
            estimate = "" if left is None else f", {left:.0f} s more if it goes on like this"
            logger.info("%s: %.0f %% of its operators are prepared%s", self._service, 100 * self.share, estimate)


def cluster_of(
    party: str,
    graph: Graph,
    peers: Mapping[str, ModelInfo],
    preparation: Preparation | None = None,
    extensions: frozenset[str] = frozenset(),
) -> Cluster:
    """The cluster as this party's operators see it, after the handshake.

    Args:
        party: this party.
        graph: its own graph, which holds its keys.
        peers: what each other party told of its model.
        preparation: is told by operators how far they are.
        extensions: on which all parties agree.
    """
    keys = {name: info.graph_view.he_info.pk_buf for name, info in peers.items()}
    own = graph.he
    if own is not None:
        keys[party] = own.public_key
    return Cluster(
        party=party,
        parties=tuple(sorted([party, *peers])),
        public_keys={name: key for name, key in keys.items() if key},
        secret_key=own.secret_key if own is not None else b"",
        encode_scale=own.encode_scale if own is not None else 0,
        progress=(preparation or Preparation("", 0)).inside,
        extensions=extensions,
    )


def check_keys(party: str, graph: CheckedGraph) -> None:
    """Let every operator of a model check this party's own keys, before any other party is asked. Blocks.

    Raises:
        SfsError: a key is missing or wrong.
    """
    cluster = cluster_of(party, graph.graph, {})
    for name, operator in graph.operators.items():
        with _named(name, "has no use for this party's keys"):
            operator.check_keys(cluster)


def prepare_operators(
    operators: Mapping[str, Operator], cluster: Cluster, preparation: Preparation | None = None
) -> None:
    """Let every operator of a model make what needs keys. Blocks, for seconds where models are encrypted.

    Raises:
        SfsError: an operator cannot work in this cluster; a failure of its own is named by kind only, for its text may
            hold a key.
    """
    preparation = preparation or Preparation("", len(operators))
    for name, operator in operators.items():
        with _named(name, "cannot be prepared"):
            operator.prepare(cluster)
        preparation.finished_one()
    preparation.finish()


@contextmanager
def _named(node: str, failure: str) -> Iterator[None]:
    """Let errors say which operator has them; of its own failures, whose text may hold anything, only the kind."""
    try:
        yield
    except SfsError as error:
        error.node = error.node or node
        raise
    except (Exception, SystemExit) as error:  # a library's sys.exit is no reason to end the server
        raise GraphError(f"the operator {failure} ({type(error).__name__})", node=node) from error
