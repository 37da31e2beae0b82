"""The hooks of SFS plugins.

Hooks run once, at start. The first five declare components; the others observe, and an exception of an observer
is logged and goes no further. Requests are served by plain objects and call no hook, except that
`sfs_prediction_done` is called per prediction when somebody implements it.

A plugin is a distribution with an entry point in the group `sfs_core.plugins`; the entry's name is the
distribution's, its value a module with hook implementations and `SFS_API`, the range of plugin API versions that
it works with:

    from sfs_core import FeatureSourceSpec, hookimpl

    SFS_API = ">=1,<2"

    @hookimpl
    def sfs_feature_sources():
        return [FeatureSourceSpec("acme", "acme_features.source:AcmeSource", "features of the ACME store")]
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import pluggy

from sfs_core.sdk.specs import AuthenticatorSpec, CommandSpec, FeatureSourceSpec, ModelSourceSpec, OperatorSpec

__all__ = ["ENTRY_POINT_GROUP", "PLUGIN_API", "PredictionEvent", "ServerHandle", "hookimpl", "hookspec"]

PROJECT = "sfs"
ENTRY_POINT_GROUP = "sfs_core.plugins"
PLUGIN_API = "1.0"
"""The version of this plugin interface. Within a major version it only grows."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class ServerHandle(Protocol):
    """What observers learn of a running server."""

    @property
    def party(self) -> str:
        """Its party's id."""

    @property
    def services(self) -> tuple[str, ...]:
        """Ids of the services that it serves at the moment."""


class PredictionEvent(NamedTuple):
    """One answered prediction; holds no ids and no features.

    Args:
        party: the party that was asked.
        service: the service id asked for, as the caller wrote it.
        rows: how many were scored.
        code: of the status, see `ErrorCode`.
        seconds: from the first look at the request to the answer.
        request_id: 32 hex digits; empty where the request was answered before it got one.
        steps: what was done for it, and the seconds that each took; empty unless `logging.slow` has them timed. A
            joined request has those of its round.
    """

    party: str
    service: str
    rows: int
    code: int
    seconds: float
    request_id: str = ""
    steps: Sequence[tuple[str, float]] = ()


@hookspec
def sfs_feature_sources() -> Iterable[FeatureSourceSpec]:  # type: ignore[empty-body]
    """Feature sources that this plugin offers."""


@hookspec
def sfs_model_sources() -> Iterable[ModelSourceSpec]:  # type: ignore[empty-body]
    """Model sources that this plugin offers."""


@hookspec
def sfs_operators() -> Iterable[OperatorSpec]:  # type: ignore[empty-body]
    """Operators that this plugin offers."""


@hookspec
def sfs_authenticators() -> Iterable[AuthenticatorSpec]:  # type: ignore[empty-body]
    """Authenticators of callers that this plugin offers."""


@hookspec
def sfs_commands() -> Iterable[CommandSpec]:  # type: ignore[empty-body]
    """Verbs of the command `sfs` that this plugin offers."""


@hookspec
def sfs_server_started(server: ServerHandle) -> None:
    """A server is ready: its ports are open and all parties agree on the model."""


@hookspec
def sfs_server_stopping(server: ServerHandle) -> None:
    """A server is about to close its ports."""


@hookspec
def sfs_prediction_done(event: PredictionEvent) -> None:
    """A prediction was answered, with success or an error. Called on the event loop: be brief."""
