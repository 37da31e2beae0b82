"""gRPC, made quiet. It is imported where gRPC is spoken only: it takes a tenth of a second and 12 MB."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

# Its own log would print texts and addresses of peers to standard error.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
# Processes are started as new programs here; its handlers of fork() would only be in the way.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc
import grpc.aio

__all__ = ["grpc", "private_folder"]

_LONGEST_FOLDER: Final = 80
"""Characters; the name of a unix socket has about a hundred at most."""


def private_folder() -> Path:
    """A new folder for unix sockets that only this user can enter."""
    folder = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="sfs-grpc-", dir=folder if len(folder) <= _LONGEST_FOLDER else "/tmp"))  # noqa: S108
