"""ModelSource: where model packages come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable
from pathlib import Path
from typing import ClassVar, Protocol

from sfs_core.sdk.context import PluginConfig, PluginContext

__all__ = ["ModelSource", "Progress"]


class Progress(Protocol):
    """How a download reports how far it is."""

    def __call__(self, done: int, total: int | None = None) -> None:
        """`done` bytes of `total` (None: unknown) have arrived."""


class ModelSource(ABC):
    """Base of model sources. Core does caching, checksums, size limits and the atomic rename.

    Attributes:
        Config: the model of this source's options.
    """

    Config: ClassVar[type[PluginConfig]] = PluginConfig

    def __init__(self, config: PluginConfig, context: PluginContext) -> None:
        self.config = config
        self.context = context

    @abstractmethod
    def download(self, path: str, to: Path, progress: Progress) -> Awaitable[None] | None:
        """Write the package that `path` names into the new file `to`. May be `def` or `async def`.

        Args:
            path: what the config's `path` says: a file, an object key, a URL.
            to: the file to write; core removes it when this raises.
            progress: to be called now and then.

        Raises:
            PackageError: the package is not there (code 5) or cannot be fetched.
        """
