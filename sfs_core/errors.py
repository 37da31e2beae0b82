"""Errors that every layer raises, and their codes.

An error says what went wrong, where (party, node, field or file position), why and what to do next.
It never carries features, query ids, keys or secrets: a file line, a row index or a count stands in for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

__all__ = [
    "BusyError",
    "ConfigError",
    "ErrorCode",
    "FeatureError",
    "GraphError",
    "PackageError",
    "PeerAnswerError",
    "PeerError",
    "PeerModelError",
    "PluginError",
    "RequestError",
    "SfsError",
    "UnknownModelError",
]


class ErrorCode(IntEnum):
    """Codes of the reference's `errors.ErrorCode`; they travel in `status.code`. Success is 1."""

    OK = 1
    """No error. (Feature services say 0 instead.)"""
    UNEXPECTED_ERROR = 2
    """Something failed that should not: the log of the party has more. Also: too little time was left."""
    INVALID_ARGUMENT = 3
    """The request, a config or a model package is not as it must be; the text names the place."""
    NETWORK_ERROR = 4
    """Another party failed or did not answer in time; the text names it, and what it said."""
    NOT_FOUND = 5
    """There is no such model or file."""
    NOT_IMPLEMENTED = 6
    """This is not served by this version."""
    LOGIC_ERROR = 7
    """What was asked does not fit what is served: a service that is not there, models that differ."""
    SERIALIZE_FAILED = 8
    """Something could not be written as a message."""
    DESERIALIZE_FAILED = 9
    """Something could not be read: a config, a package or a message."""
    IO_ERROR = 10
    """A file or a port cannot be used."""
    NOT_READY = 11
    """The parties have not agreed on the model yet: ask again."""
    FS_UNAUTHENTICATED = 100
    """The feature service does not know this server."""
    FS_INVALID_ARGUMENT = 101
    """The feature service refuses the question, or a row's features are no such values."""
    FS_DEADLINE_EXCEEDED = 102
    """The feature source took too long."""
    FS_NOT_FOUND = 103
    """The feature source has no row for an id."""
    FS_INTERNAL_ERROR = 104
    """The feature source failed."""


class SfsError(Exception):
    """Anything that this software refuses or cannot do.

    Args:
        code: what kind of failure it is, as the reference counts them.
        message: what went wrong and why, for a person; safe to show to another party.
        party: the party at which it happened, where that is known.
        node: the graph node concerned.
        where: the position: `file:line path`, a field name, a row index.
        hint: what to do next.
        detail: more for the party's own log only; never leaves the process.
    """

    default_code = ErrorCode.UNEXPECTED_ERROR

    def __init__(
        self,
        message: str,
        *,
        code: ErrorCode | int | None = None,
        party: str = "",
        node: str = "",
        where: str = "",
        hint: str = "",
        detail: str = "",
    ) -> None:
        super().__init__(message)
        self.code = self.default_code if code is None else _known_code(code)
        self.message = message
        self.party = party
        self.node = node
        self.where = where
        self.hint = hint
        self.detail = detail
        self.steps: Sequence[tuple[str, float]] = ()
        """What was done for the request before this happened, and the seconds that each took, where that is timed."""

    def __str__(self) -> str:
        text = self.public_text()
        return f"{text}\n  hint: {self.hint}" if self.hint else text

    def public_text(self) -> str:
        """One line for other parties and callers: place and message, without hint and detail."""
        places = [f"party {self.party}"] if self.party else []
        if self.node:
            places.append(f"node {self.node}")
        if self.where:
            places.append(self.where)
        return f"{', '.join(places)}: {self.message}" if places else self.message


def _known_code(code: int) -> ErrorCode:
    try:
        return ErrorCode(code)
    except ValueError:
        return ErrorCode.UNEXPECTED_ERROR


class ConfigError(SfsError):
    """A config file or option is wrong. Holds every problem found, not only the first."""

    default_code = ErrorCode.INVALID_ARGUMENT

    def __init__(self, message: str, *, problems: tuple[str, ...] = (), **keywords: object) -> None:
        super().__init__(message, **keywords)  # type: ignore[arg-type]
        self.problems = problems or (message,)


class PluginError(SfsError):
    """A plugin is missing, broken, incompatible, or broke its contract."""


class PackageError(SfsError):
    """A model package cannot be fetched, unpacked or read."""

    default_code = ErrorCode.IO_ERROR


class GraphError(SfsError):
    """A model graph breaks a rule, or parties' graphs disagree."""

    default_code = ErrorCode.LOGIC_ERROR


class FeatureError(SfsError):
    """Features are missing, null, or not of the declared type."""

    default_code = ErrorCode.INVALID_ARGUMENT


class PeerError(SfsError):
    """Another party could not be reached, or answered with an error."""

    default_code = ErrorCode.NETWORK_ERROR


class PeerAnswerError(PeerError):
    """Another party answered, with an error: it was reached, and may answer another request well."""


class BusyError(SfsError):
    """This party has more to do than it takes on; nothing was begun, and it may be asked again a little later."""


class PeerModelError(PeerError):
    """Another party has not the model (any more) that a call was bound to: nothing was computed."""


class UnknownModelError(SfsError):
    """This party has not the model that another party's call is bound to."""

    default_code = ErrorCode.NOT_FOUND


class RequestError(SfsError):
    """A caller's request cannot be served as it is."""

    default_code = ErrorCode.INVALID_ARGUMENT
