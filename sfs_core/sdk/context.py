"""What core hands to a plugin's objects when it makes them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from logging import Logger
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from sfs_core.batch import Schema
from sfs_core.errors import ConfigError

__all__ = ["FeatureContext", "PluginConfig", "PluginContext", "types_in"]


def types_in(annotation: Any) -> Iterator[type]:
    """The plain types that an annotation is made of: those of a union, a list, a mapping."""
    arguments = get_args(annotation)
    if not arguments and isinstance(annotation, type):
        yield annotation
    for argument in arguments:
        yield from types_in(argument)


class PluginConfig(BaseModel):
    """Base of a component's options. Unknown options are errors; attribute docstrings become the documentation.

    Use `pydantic.SecretStr` for secrets: they are then shown nowhere.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool):  # which Python, and so pydantic, takes for 1 or 0
            types = set(types_in(cls.model_fields[info.field_name or ""].annotation))
            if bool not in types and types & {int, float}:
                raise ValueError("a number is expected")
        return value


@dataclass(frozen=True, slots=True)
class PluginContext:
    """Where a component lives.

    Args:
        service: the service (model) id it works for.
        party: this party's id.
        logger: for the component's messages; no features, ids, keys or secrets at any level.
        base_directory: what relative paths in the config are relative to.
    """

    service: str
    party: str
    logger: Logger
    base_directory: Path

    def resolve(self, path: str | Path) -> Path:
        """`path` made absolute: `~` expanded, relative to `base_directory`.

        Raises:
            ConfigError: it begins with the home directory of nobody.
        """
        try:
            return self.base_directory / Path(path).expanduser()
        except RuntimeError:
            raise ConfigError("a path begins with a home directory (~) that there is not") from None


@dataclass(frozen=True, slots=True)
class FeatureContext(PluginContext):
    """The context of a feature source.

    Args:
        schema: the columns to deliver: names at the source, exact Arrow types. May have no columns.
        executor: the bounded pool that runs blocking code.
        report_missing: how to meet ids without a row, and values that are not there. False: raise a FeatureError
            that says which rows. True: leave such rows out and say so in `FeatureResult.missing`, hand such values on
            as nulls; what becomes of them is for core to decide.
    """

    schema: Schema
    executor: Executor
    report_missing: bool = False
