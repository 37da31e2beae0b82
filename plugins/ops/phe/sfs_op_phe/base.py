"""What the encrypted operators share: keys, the parties' tables, and how errors name where bytes came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sfs_core import Batch, Cluster, ComputeContext, ErrorCode, Operator, SfsError

from .config import PheConfig
from .keyring import Keyring, keyring_of
from .matrices import CipherItems, CipherMatrix, PlainMatrix, cells_of
from .numbers import check_scale
from .own_keys import own_keys
from .packing import EXTENSION
from .wire import WireError

__all__ = ["PheOperator", "read_from"]


class PheOperator(Operator):
    """Base of the encrypted operators."""

    Config = PheConfig
    config: PheConfig
    heavy = True
    discloses = "values that are encrypted or masked"
    _keyring: Keyring | None = None

    def extensions(self) -> Iterable[str]:
        """Packing, if it is switched on."""
        return [EXTENSION] if self.config.packing else []

    def check_keys(self, cluster: Cluster) -> None:
        """Check this party's keys and scale.

        Raises:
            GraphError: they cannot be served, do not belong together, or one is missing (code 7).
        """
        check_scale(cluster.encode_scale)
        own_keys(cluster, self.config)

    def prepare(self, cluster: Cluster) -> None:
        """Take the keys, and make tables from them.

        Raises:
            GraphError: the keys or the scale of the model cannot be served (code 7).
        """
        check_scale(cluster.encode_scale)
        keyring = keyring_of(cluster, self.config)
        self.make_tables(keyring)
        self._keyring = keyring

    def make_tables(self, keyring: Keyring) -> None:
        """Make what `compute` needs of the keys."""

    @property
    def keyring(self) -> Keyring:
        """The two parties' keys.

        Raises:
            SfsError: the parties have not agreed yet (code 11).
        """
        if self._keyring is None:
            raise SfsError(
                "this party has not agreed on the model with its peer yet", code=ErrorCode.NOT_READY, hint="try again"
            )
        return self._keyring

    def state(self) -> Mapping[str, float]:
        """How full the stocks of the model's keys are."""
        return self._keyring.state() if self._keyring is not None else {}

    def require_requester(self, context: ComputeContext, *, own: bool) -> None:
        """Raise unless the party that was asked for scores is this one, or with `own=False` the other one."""
        expected = self.keyring.party if own else self.keyring.peer
        self.require(
            context.requester == expected, f"it runs {'only' if own else 'not'} at the party that was asked for scores"
        )

    def require_rows(self, features: Batch) -> None:
        """Raise unless there are rows: a matrix without items is one that the reference cannot read."""
        self.require(features.num_rows > 0, "there are no rows", code=ErrorCode.INVALID_ARGUMENT)

    def cells_by_party(self, tables: Sequence[Batch]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """This party's cells and the peer's; the last column tells whose they are.

        Raises:
            GraphError: there is not one table with one row of each party (code 7).
        """
        cells = {row[-1]: row for row in map(cells_of, tables)}
        keyring = self.keyring
        self.require(
            len(tables) == 2 and cells.keys() == {keyring.party, keyring.peer},
            "it needs one table of each of the two parties",
        )
        return cells[keyring.party], cells[keyring.peer]

    def require_shape(
        self, matrix: CipherMatrix | CipherItems | PlainMatrix, rows: int, columns: int, what: str
    ) -> None:
        """Raise unless a matrix has the given shape."""
        self.require(
            (matrix.rows, matrix.columns) == (rows, columns),
            f"{what} is a matrix of {matrix.rows} x {matrix.columns}, {rows} x {columns} is needed",
        )


@contextmanager
def read_from(column: str, party: str) -> Iterator[None]:
    """Let errors of what is read inside say whose column it was."""
    try:
        yield
    except WireError as error:
        error.where = f"column {column!r} of {party}"
        raise
