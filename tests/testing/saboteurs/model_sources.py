"""Model sources that each break one rule."""

import asyncio
import contextlib
import os
import socket
import threading

from sfs_core import ErrorCode, ModelSource, PackageError, PluginConfig

CHUNK = 1 << 15


class Options(PluginConfig):
    port: int = 0
    wait: float = 0.05


class Honest(ModelSource):
    """Keeps all rules: copies a file, after asking a service where there is one."""

    breaks = ""
    Config = Options

    def download(self, path, to, progress):
        try:
            if self.config.port:
                self.ask()
            self.copy(self.context.resolve(path), to, progress)
        except OSError as error:
            raise PackageError(f"no package ({type(error).__name__})", code=ErrorCode.IO_ERROR) from None

    def ask(self):
        with socket.create_connection(("127.0.0.1", self.config.port), self.config.wait) as connection:
            connection.sendall(b"?")
            if not connection.recv(1):
                raise ConnectionResetError

    def copy(self, path, to, progress):
        content = path.read_bytes()
        if path.name == "cut":
            raise PackageError("cut short")
        with to.open("xb") as file:
            for at in range(0, len(content), CHUNK):
                file.write(content[at : at + CHUNK])
                file.flush()
                self.tell(progress, min(at + CHUNK, len(content)), len(content))

    def tell(self, progress, done, total):
        progress(done, total)


class BadBytes(Honest):
    breaks = "the_bytes_arrive_as_they_are core_keeps_whole_packages_only downloads_at_a_time_do_not_mix"

    def copy(self, path, to, progress):
        super().copy(path, to, progress)
        to.write_bytes(to.read_bytes()[::-1])


class CountsBackwards(Honest):
    breaks = "progress_is_told"

    def tell(self, progress, done, total):
        progress(done, total)
        if done == total:
            progress(0, total)


class GoesOn(Honest):
    breaks = "progress_can_break_it_off"
    broken = 0

    def tell(self, progress, done, total):
        try:
            progress(done, total)
        except PackageError:
            self.broken = 1
        if self.broken and done == total:
            progress(done, total)


class Shares(Honest):
    breaks = "downloads_at_a_time_do_not_mix"
    used = False

    def copy(self, path, to, progress):
        if self.used:
            raise PackageError("used already")
        self.used = True
        super().copy(path, to, progress)


class MissingIsEmpty(Honest):
    breaks = "a_missing_package_is_an_error"

    def copy(self, path, to, progress):
        if path.exists():
            super().copy(path, to, progress)
        else:
            to.touch()


class HalfIsEnough(Honest):
    breaks = "a_package_cut_short_is_an_error core_keeps_whole_packages_only"

    def copy(self, path, to, progress):
        super().copy(path.with_name("package") if path.name == "cut" else path, to, progress)


class BareErrors(Honest):
    breaks = "a_file_that_cannot_be_written_is_an_error"

    def copy(self, path, to, progress):
        try:
            super().copy(path, to, progress)
        except OSError as error:
            if not to.parent.exists():
                raise RuntimeError from error
            raise


class NoService(Honest):
    breaks = "a_service_that_is_not_there_is_an_error"

    def ask(self):
        with contextlib.suppress(ConnectionRefusedError):
            super().ask()


class NoTimeout(Honest):
    breaks = "a_service_that_never_answers_is_an_error"

    def ask(self):
        with socket.create_connection(("127.0.0.1", self.config.port)) as connection:
            if not connection.recv(1):
                raise ConnectionResetError


class NoReset(Honest):
    breaks = "a_service_that_breaks_off_is_an_error"

    def ask(self):
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            super().ask()


class LeavesThread(Honest):
    breaks = "no_thread_is_left_behind"

    def copy(self, path, to, progress):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        super().copy(path, to, progress)


class LeavesFile(Honest):
    breaks = "no_file_or_socket_is_left_open"

    def copy(self, path, to, progress):
        self.descriptor = os.open(os.devnull, os.O_RDONLY)
        super().copy(path, to, progress)


class LeavesTask(Honest):
    breaks = "no_task_is_left_behind"

    async def download(self, path, to, progress):
        Honest.download(self, path, to, progress)
        await asyncio.sleep(0)
        self.task = asyncio.create_task(asyncio.Event().wait())


class CannotBeCancelled(Honest):
    breaks = "it_can_be_cancelled"

    async def download(self, path, to, progress):
        Honest.download(self, path, to, progress)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
