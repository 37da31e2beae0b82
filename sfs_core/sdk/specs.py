"""The records that a plugin's hooks return: what it offers, and where the code is.

Light on purpose: a declaration module that imports only this and `hookimpl` loads in milliseconds. The factory is
a string and is imported when a config selects the component.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

__all__ = [
    "CORE_COMMANDS",
    "AuthenticatorSpec",
    "CommandSpec",
    "ComponentSpec",
    "Egress",
    "FeatureSourceSpec",
    "ModelSourceSpec",
    "OperatorSpec",
]

# fmt: off
CORE_COMMANDS: Final = frozenset((
    "admin", "audit", "bench", "bulk", "certs", "check", "config", "demo", "explain", "plugins", "predict", "serve",
    "spi", "trace",
))
# fmt: on
"""The verbs that `sfs` has of itself; a plugin cannot have one of these."""
_COMMAND_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
Egress = Literal["none", "ids", "features"]
"""What a source lets leave the process: nothing, query ids, or features too."""


@dataclass(frozen=True, slots=True)
class ComponentSpec:
    """One component: its name in configs or graphs, and the class behind it.

    Args:
        name: unique among components of its kind; what a config (or a graph) says.
        factory: `package.module:Class`.
        summary: one line for `sfs plugins list`.
    """

    kind: ClassVar[str] = ""
    title: ClassVar[str] = ""

    name: str
    factory: str
    summary: str

    def __post_init__(self) -> None:
        module, colon, attribute = self.factory.partition(":")
        if not (self.name and module and colon and attribute):
            raise ValueError(f"{type(self).__name__}: a name and a factory 'package.module:Class' are needed")


@dataclass(frozen=True, slots=True)
class FeatureSourceSpec(ComponentSpec):
    """A feature source: where a party looks its own features up. The factory is a `FeatureSource` class."""

    kind: ClassVar[str] = "feature_source"
    title: ClassVar[str] = "feature source"

    egress: Egress = "none"


@dataclass(frozen=True, slots=True)
class ModelSourceSpec(ComponentSpec):
    """A model source: where model packages are fetched from. The factory is a `ModelSource` class."""

    kind: ClassVar[str] = "model_source"
    title: ClassVar[str] = "model source"

    egress: Egress = "none"


@dataclass(frozen=True, slots=True)
class OperatorSpec(ComponentSpec):
    """An operator of model graphs. The factory is an `Operator` class; `name` equals its `name=`."""

    kind: ClassVar[str] = "operator"
    title: ClassVar[str] = "operator"


@dataclass(frozen=True, slots=True)
class AuthenticatorSpec(ComponentSpec):
    """An authenticator: how callers are known. The factory is an `Authenticator` class."""

    kind: ClassVar[str] = "authenticator"
    title: ClassVar[str] = "authenticator"


@dataclass(frozen=True, slots=True)
class CommandSpec(ComponentSpec):
    """A verb of the command `sfs`. The factory is a `click.Command` (or group); `name` is what people type after `sfs`.

    Its errors are `SfsError`s, which are shown with their hints and end the process with 1.
    """

    kind: ClassVar[str] = "command"
    title: ClassVar[str] = "command"

    def __post_init__(self) -> None:
        ComponentSpec.__post_init__(self)
        if not _COMMAND_NAME.fullmatch(self.name):
            raise ValueError(f"CommandSpec: {self.name!r} is no lower-case word, or several joined by dashes")
        if self.name in CORE_COMMANDS:
            raise ValueError(f"CommandSpec: {self.name!r} is a command of SFS itself")
