"""From configs to a server that runs: in this process, or in workers of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sfs_core.config.loaded import LoadedConfig
from sfs_core.errors import ConfigError
from sfs_core.observe.worker import worker_number
from sfs_core.server.app import Server
from sfs_core.server.run import run_loop, serve_until_stopped
from sfs_core.server.supervisor import Supervisor
from sfs_core.server.worker import run_worker

__all__ = ["run_servers"]


def run_servers(configs: Sequence[LoadedConfig], started: Callable[[Server | Supervisor], None]) -> int:
    """Serve until SIGINT or SIGTERM.

    A server with several workers runs this program once more for each of them, with the same arguments.

    Args:
        configs: several parties of one model among them, for trying things out.
        started: called with each server that has become ready.

    Returns:
        The process's exit code.

    Raises:
        SfsError: a server could not start.
    """
    if worker_number() is not None:
        code: int = run_loop(run_worker(configs[0]))
        return code
    if all(each.config.workers == 1 for each in configs):
        run_loop(serve_until_stopped([Server(each) for each in configs], started))
    elif any(each.config.bulk_scoring for each in configs):
        raise ConfigError("bulk scoring takes one process", hint="leave --workers out")
    elif len(configs) > 1:
        raise ConfigError("several parties in one process cannot have workers", hint="start one process per party")
    else:
        run_loop(Supervisor(configs[0]).run(started))
    return 0
