"""The part of a config about a service: its model, and where this party's features come from."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from sfs_core.config.option_types import Bytes, Id, Seconds
from sfs_core.config.source_choice import SourceChoice
from sfs_core.sdk.context import PluginConfig

__all__ = [
    "FeatureCache",
    "FeaturePart",
    "FeaturePrecompute",
    "Features",
    "ModelChoice",
    "ModelPackage",
    "Service",
]


class ModelChoice(SourceChoice):
    """A model source and what to fetch from it."""

    path: str = Field(min_length=1)
    """What to fetch, in the source's terms: a file, an object key, a URL."""


class ModelPackage(PluginConfig):
    """The model to serve."""

    source: ModelChoice
    """Where it comes from."""
    sha256: Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{64}$")] | None = None
    """What the package must hash to (hex). With it, a package fetched before is used again."""
    version: Annotated[str, Field(max_length=100)] = ""
    """A name of the export; the same at all parties. Parties of this software that name different ones wait for each
    other and do not score together. The reference knows nothing of it."""


class FeaturePart(PluginConfig):
    """One of several feature sources."""

    source: SourceChoice
    """Where its features are looked up."""
    features: list[str] | None = Field(default=None, min_length=1)
    """Which features it gives, under their names in the model. Absent, at one source only: all that the others do not
    give."""


class FeatureCache(PluginConfig):
    """Rows of feature sources, remembered for a while."""

    ttl: Seconds
    """How long a row is remembered: nobody gets an older one."""
    missing_ttl: float = Field(default=0.0, ge=0, le=86_400, allow_inf_nan=False)
    """Seconds that an id is remembered to have no row; 0: not at all."""
    max_rows: int = Field(default=100_000, gt=0)
    """Most ids remembered, of each source; those not used for longest make room."""
    max_memory: Bytes = 256 << 20
    """Bytes that they may take, of each source, as estimated; those not used for longest make room."""
    headers: list[str] | None = None
    """Names of the header entries of requests that rows depend on. Absent: all but those of tracing."""


class FeaturePrecompute(PluginConfig):
    """What this party's operators make of a row, remembered."""

    at: Literal["first_use", "load"] = "first_use"
    """When a row is computed: as it is first asked for, or all when the model is loaded, before the party is ready."""
    max_memory: Bytes = 64 << 20
    """Bytes that this may take, as estimated; the rows that were remembered first make room. With `at: load` rows are
    computed until it is used up."""


class Features(PluginConfig):
    """This party's features."""

    source: SourceChoice | None = None
    """Where they are looked up. Absent: only features sent along with requests can be scored."""
    sources: list[FeaturePart] | None = Field(default=None, min_length=1)
    """Instead of `source`: several, each with some of the features; all are asked at the same time."""
    cache: FeatureCache | None = None
    """Remembers rows that were looked up. Absent: every request is looked up."""
    precompute: FeaturePrecompute | None = None
    """Remembers what this party's part of the model makes of a row, for sources whose rows never change. Absent: it is
    computed for every request."""
    mapping: dict[str, str] = Field(default={})
    """Name at the source: name in the model. Names that are equal need no entry."""
    missing: Literal["error", "default", "per_row"] = "error"
    """What becomes of rows that the source does not have, and of values that are not in them: `error` fails the
    request, `default` takes `defaults` instead, `per_row` scores the other rows. See docs/features.md."""
    defaults: dict[str, bool | int | float | str | None] = Field(default={})
    """With `missing: default`: a value for each feature of the model, under its name in the model. null hands a null
    to the model."""

    @property
    def parts(self) -> list[FeaturePart]:
        """All feature sources, also where there is one only."""
        return self.sources or ([FeaturePart(source=self.source)] if self.source is not None else [])

    @model_validator(mode="after")
    def _defaults_have_a_use(self) -> Features:
        if self.defaults and self.missing != "default":
            raise ValueError("`defaults` are for `missing: default`")
        return self

    @model_validator(mode="after")
    def _each_feature_once(self) -> Features:
        if self.source is not None and self.sources is not None:
            raise ValueError("either `source` or `sources` is expected, and not both")
        listed = Counter(name for part in self.parts for name in set(part.features or ()))
        twice = [name for name, times in listed.items() if times > 1]
        if twice:
            raise ValueError(f"several sources are to give {', '.join(sorted(twice)[:10])}")
        if sum(part.features is None for part in self.parts) > 1:
            raise ValueError("only one of the sources can give the rest; name the `features` of the others")
        for option in ("cache", "precompute"):
            if getattr(self, option) is not None and not self.parts:
                raise ValueError(f"`{option}` needs a source")
        return self

    @field_validator("mapping")
    @classmethod
    def _one_to_one(cls, value: dict[str, str]) -> dict[str, str]:
        twice = sorted(name for name, times in Counter(value.values()).items() if times > 1)
        if twice:
            raise ValueError(f"several source names stand for {', '.join(twice[:10])}")
        return value


class Service(PluginConfig):
    """One model that is served."""

    service: Id
    """The service id; the same at all parties."""
    model: ModelPackage
    """This party's part of the model."""
    features: Features | None = None
    """Absent: only features sent along with requests can be scored."""
