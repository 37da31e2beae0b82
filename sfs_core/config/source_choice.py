"""A component picked by name, wherever in a config that is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ConfigDict, Field

from sfs_core.sdk.context import PluginConfig

__all__ = ["SourceChoice"]


class SourceChoice(PluginConfig):
    """A component picked by name; all other keys are its own options."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(min_length=1)
    """The component's name, see `sfs plugins list`."""

    @property
    def options(self) -> dict[str, Any]:
        """The component's own options."""
        return dict(self.__pydantic_extra__ or {})

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        """Without the component's options, which may be secret."""
        return ((name, getattr(self, name)) for name in type(self).model_fields)
