"""The `sfs` command as people run it."""

from __future__ import annotations

import contextlib
import io
import subprocess

from sfs_core.cli import main
from tests.support.processes import SFS


def sfs(*arguments: object, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """Run it to its end; neither tracebacks nor colours may show when it is piped."""
    command = [SFS, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
    assert "Traceback" not in result.stderr + result.stdout
    assert "\x1b" not in result.stdout
    return result


def sfs_here(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run it in this process, which is quicker; for verbs that leave nothing behind."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(map(str, arguments)))
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
