"""Where features come from, as the engine sees it: a feature source, or something in front of one."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable, Collection, Iterable
from functools import partial
from typing import Protocol

from sfs_core.batch import Schema
from sfs_core.engine.missing import MissingPolicy
from sfs_core.errors import ErrorCode, FeatureError, SfsError
from sfs_core.host.placed import placed
from sfs_core.sdk.feature_source import FeatureQuery, FeatureResult

__all__ = ["PlacedSource", "PolicySource", "Source", "SourceInFront", "source_failed", "too_late"]

_logger = logging.getLogger("sfs.features")


class Source(Protocol):
    """What a FeatureSource, too, offers to the engine; see there."""

    @property
    def schema(self) -> Schema:
        """The columns that it gives."""

    @property
    def row_count(self) -> int:
        """Rows that bulk scoring can draw from it; -1 for any number."""

    @property
    def keeps_nulls(self) -> bool:
        """Whether nulls in its batches are for the model."""

    @property
    def static(self) -> bool:
        """Whether an id always has the same row."""

    def known_ids(self) -> Collection[str]:
        """Ids whose rows never change and are there at once; empty where it cannot tell them."""

    def validate(self) -> None:
        """Raise what is wrong with it that can be seen without reaching a service."""

    def open(self) -> None:
        """Make it ready."""

    def close(self) -> None:
        """Release everything."""

    def check(self) -> None:
        """Raise what is wrong with it."""

    def fetch(self, query: FeatureQuery) -> FeatureResult | Awaitable[FeatureResult]:
        """The checked rows."""


class SourceInFront:
    """What stands in front of a source, and is like it but for what it does itself."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.schema = source.schema
        self.validate, self.check = source.validate, source.check

    @property
    def row_count(self) -> int:
        """That of the source."""
        return self._source.row_count

    @property
    def keeps_nulls(self) -> bool:
        """Whether the source does."""
        return self._source.keeps_nulls

    @property
    def static(self) -> bool:
        """Whether the source is."""
        return self._source.static


class PolicySource(SourceInFront):
    """A source in front of which a policy for missing rows and values stands."""

    def __init__(self, source: Source, policy: MissingPolicy) -> None:
        super().__init__(source)
        self._policy = policy
        self.open, self.close, self.known_ids = source.open, source.close, source.known_ids

    @property
    def keeps_nulls(self) -> bool:
        """True: those that are left are for the model."""
        return True

    def fetch(self, query: FeatureQuery) -> FeatureResult | Awaitable[FeatureResult]:
        """What the source has, as the policy wants it."""
        result = self._source.fetch(query)
        if isinstance(result, FeatureResult):
            return self._policy(result, self._source.keeps_nulls)
        return self._fetch_later(result)

    async def _fetch_later(self, pending: Awaitable[FeatureResult]) -> FeatureResult:
        return self._policy(await pending, self._source.keeps_nulls)


class PlacedSource(SourceInFront):
    """A source by its place in the config, which its errors at the start and when it is checked tell.

    Those of look-ups are told whoever asks for the rows, see `source_failed`.
    """

    def __init__(self, source: Source, place: str) -> None:
        super().__init__(source)
        self.place = place
        self.known_ids, self.fetch = source.known_ids, source.fetch
        self.validate = partial(self._placed, source.validate, "the feature source cannot be validated")
        self._open = partial(self._placed, source.open, "the feature source failed to open")
        self.check = partial(self._placed, source.check, "the feature source failed to say whether it is up")

    def open(self) -> None:
        """Make the source ready, if it is valid."""
        self.validate()
        self._open()

    def close(self) -> None:
        """Close the source. Raises nothing: one that fails at it must not keep a server from ending as it should."""
        try:
            self._source.close()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin's code; its text may quote anything
            _logger.warning("%s: the feature source failed to close (%s)", self.place, type(error).__name__)

    def _placed(self, action: Callable[[], None], failure: str) -> None:
        with placed(self.place, failure):
            action()


def source_failed(error: Exception, source: Source) -> SfsError:
    """What callers and other parties are told when a source's look-up failed; more is for this party's own log."""
    place = _place(source)
    if isinstance(error, SfsError):
        # Where in its files or tables a source found something wrong is this party's own business.
        known = place if place not in error.detail else ""  # a source may raise the same error again
        error.detail = "; ".join(part for part in (known, error.where, error.detail) if part)
        error.where = ""
        return error
    # The exception's own text may quote ids or values: only its kind and place go on.
    frames = traceback.extract_tb(error.__traceback__)
    line = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return FeatureError(
        f"the feature source failed ({type(error).__name__})",
        code=ErrorCode.UNEXPECTED_ERROR,
        detail=f"{place or type(source).__name__}: {type(error).__name__}{line}",
    )


def too_late(sources: Iterable[Source]) -> FeatureError:
    """The error where rows of sources are not there in time; this party's log tells which sources these are."""
    return FeatureError(
        "the features were not there before the request's time limit passed",
        code=ErrorCode.FS_DEADLINE_EXCEEDED,
        detail=", ".join(filter(None, map(_place, sources))),
    )


def _place(source: Source) -> str:
    """Where it stands in the config; nothing where that is not known, or where there are several."""
    return source.place if isinstance(source, PlacedSource) else ""
