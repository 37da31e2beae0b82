"""What the programs that stand in for programs of the reference share: errors and exit codes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Final

from sfs_core.errors import ConfigError, SfsError

__all__ = ["run_program"]

logger = logging.getLogger("sfs.cli")

_FAILED: Final = 255


def run_program(run: Callable[[Sequence[str]], int], arguments: Sequence[str] | None) -> int:
    """Run a program with arguments, the process's own by default; what goes wrong is logged.

    Returns:
        The exit code: that of `run`, or 255 as the reference's programs after any error.
    """
    try:
        return run(sys.argv[1:] if arguments is None else arguments)
    except SfsError as error:
        problems = error.problems if isinstance(error, ConfigError) else ()
        hint = f"hint: {error.hint}" if error.hint else ""
        logger.critical(
            "%s", "\n  ".join(filter(None, [f"code {int(error.code)}: {error.public_text()}", *problems, hint]))
        )
        return _FAILED
    except KeyboardInterrupt:
        return 0
    except Exception as error:  # noqa: BLE001 - the last place where a person can be told
        # The exception's text may hold somebody's data, so only its type is shown.
        logger.critical("unexpected %s: this is a bug in SFS or a plugin", type(error).__name__)
        return _FAILED
