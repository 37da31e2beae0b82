"""Errors of plugins' code where a config names the component: they tell the place, and nothing that they may quote."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sfs_core.errors import ConfigError, SfsError

__all__ = ["placed"]


@contextmanager
def placed(place: str, failure: str) -> Iterator[None]:
    """Run a component's code, outside of requests.

    Args:
        place: where the config names it, such as `alice.yaml:14 features.source (sql)`.
        failure: what it means when the code raises what it should not, such as `the feature source failed to open`.

    Raises:
        SfsError: those of the component, which tell the place, too.
        ConfigError: it raised anything else, of which only the type is told, or tried to end the process (3).
    """
    try:
        yield
    except SfsError as error:
        error.where = f"{place}, {error.where}" if error.where else place
        raise
    except (Exception, SystemExit) as error:
        kind = type(error).__name__  # its text may quote anything
        hint = "SFS_TRACEBACK=1 shows the traceback, for the plugin's author"
        raise ConfigError(f"{failure} ({kind})", where=place, hint=hint, detail=kind) from error
