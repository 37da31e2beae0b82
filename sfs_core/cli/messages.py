"""How errors are shown to people."""

from __future__ import annotations

import sys

from sfs_core.errors import ConfigError, SfsError

__all__ = ["show_error"]


def show_error(error: SfsError) -> None:
    """Print an error and what to do about it to standard error."""
    print(f"error: {error.public_text()}", file=sys.stderr)
    if isinstance(error, ConfigError) and error.problems != (error.message,):
        for problem in error.problems:
            print(f"  {problem}", file=sys.stderr)
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)
