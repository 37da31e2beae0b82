"""The program of a worker process, see `workers`: calls functions that arrive through a pipe until that is closed."""

from __future__ import annotations

import os
import signal
import sys
from multiprocessing.connection import Connection

__all__ = ["main"]


def main(descriptor: int, niceness: int) -> None:
    """Serve the other end of a pipe, with a priority that is lower by `niceness`.

    A function's exception goes back as its kind alone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; who started this decides
    os.nice(niceness)
    with Connection(descriptor) as connection:
        while True:
            try:
                function, arguments = connection.recv()
                try:
                    answer = True, function(*arguments)
                except ZeroDivisionError:
                    answer = False, ZeroDivisionError()
                except Exception as error:  # noqa: BLE001 - its text may hold numbers
                    answer = False, RuntimeError(type(error).__name__)
                connection.send(answer)
            except (EOFError, OSError):
                return


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
