"""From a service's config to its feature source: the sources it names, with cache and policy in front of each."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Executor as Pool
from functools import partial

from sfs_core.batch import Schema
from sfs_core.config.loaded import LoadedFeatureSource, LoadedService
from sfs_core.config.service import Features
from sfs_core.engine.cache import CachedSource
from sfs_core.engine.features import source_schema
from sfs_core.engine.joined import JoinedSource
from sfs_core.engine.missing import DefaultValues, MissingPolicy, leave_out, refuse
from sfs_core.engine.sources import PlacedSource, PolicySource, Source
from sfs_core.errors import ConfigError, FeatureError
from sfs_core.host.placed import placed
from sfs_core.observe.server_metrics import ServerMetrics
from sfs_core.sdk.context import FeatureContext, PluginContext
from sfs_core.server.observed import ObservedSource

__all__ = ["feature_source"]

logger = logging.getLogger("sfs.load")


def feature_source(
    service: LoadedService,
    context: PluginContext,
    schema: Schema,
    pool: Pool,
    metrics: ServerMetrics | None = None,
) -> tuple[Source | None, tuple[CachedSource, ...]]:
    """What a service gets its features from, not open yet, and the caches in it.

    Args:
        service: the service.
        context: of its components.
        schema: the model's features.
        pool: for sources that wait.
        metrics: what look-ups are counted into, if anything.

    Raises:
        ConfigError: the sources do not give each feature, or defaults are missing or do not fit.
    """
    features = service.config.features
    if features is None or not service.feature_sources:
        return None, ()
    try:
        parts = _shares(service.feature_sources, schema)
        if features.missing == "default":
            _check_defaults(service.config.service, features, schema)
    except ConfigError as error:
        error.where = service.where("features", error.where)
        raise
    made = [_part(features, part, share, context, pool, metrics, _place(service, part)) for part, share in parts]
    caches = tuple(source for _, source in made if isinstance(source, CachedSource))
    sources = [placed_source for placed_source, _ in made]
    if features.precompute is not None and not all(source.static for source in sources):
        raise ConfigError(
            "a source does not say that its rows never change, so nothing may be precomputed of them",
            where=service.where("features", "precompute"),
            hint="leave `precompute` out; `cache` remembers rows of any source for a while",
        )
    if len(sources) == 1:
        return sources[0], caches
    return JoinedSource(source_schema(schema, features.mapping), sources), caches


def _place(service: LoadedService, part: LoadedFeatureSource) -> str:
    """A source's place in the config, and its component."""
    several = service.config.features is not None and service.config.features.sources is not None
    place = (
        ("features", "sources", service.feature_sources.index(part), "source") if several else ("features", "source")
    )
    return f"{service.where(*place)} ({part.name})"


def _shares(sources: Sequence[LoadedFeatureSource], schema: Schema) -> list[tuple[LoadedFeatureSource, Schema]]:
    """The columns that each source is to give; sources without any are left out."""
    listed = {name for part in sources for name in part.features or ()}
    rest = [name for name in schema.names if name not in listed]
    if rest and all(part.features is not None for part in sources):
        raise ConfigError(
            f"no source gives {len(rest)} feature(s) of the model, {rest[0]!r} is one",
            where="sources",
            hint="name them at a source, or leave `features` out at one source: it then gives the rest",
        )
    if unknown := len(listed - set(schema.names)):
        logger.info("sources are to give %d feature(s) that the model does not use", unknown)
    fields = dict(zip(schema.names, schema.types, strict=True))
    shares = []
    for part in sources:
        wanted = rest if part.features is None else [name for name in schema.names if name in set(part.features)]
        if wanted or len(sources) == 1:
            shares.append((part, Schema((name, fields[name]) for name in wanted)))
    return shares or [(sources[0], schema)]


def _part(
    features: Features,
    part: LoadedFeatureSource,
    share: Schema,
    context: PluginContext,
    pool: Pool,
    metrics: ServerMetrics | None,
    place: str,
) -> tuple[PlacedSource, Source]:
    """One source with what stands in front of it; and without its place and policy."""
    report = features.missing != "error" or features.cache is not None
    schema = source_schema(share, features.mapping)
    its_context = FeatureContext(
        context.service, context.party, context.logger, context.base_directory, schema, pool, report_missing=report
    )
    with placed(place, "the feature source cannot be made"):
        source: Source = part.source(part.options, its_context)
    if metrics is not None:
        source = ObservedSource(source, partial(metrics.asked_source, context.service, part.name))
    if cache := features.cache:
        source = CachedSource(
            source,
            ttl=cache.ttl,
            missing_ttl=cache.missing_ttl,
            max_rows=cache.max_rows,
            max_bytes=cache.max_memory,
            headers=cache.headers,
        )
    policed = PolicySource(source, _policy(features, share)) if report else source
    return PlacedSource(policed, place), source


def _policy(features: Features, share: Schema) -> MissingPolicy:
    if features.missing == "default":
        return DefaultValues(share, features.defaults)
    return leave_out if features.missing == "per_row" else refuse


def _check_defaults(service: str, features: Features, schema: Schema) -> None:
    if lacking := [name for name in schema.names if name not in features.defaults]:
        raise ConfigError(
            f"{len(lacking)} feature(s) of the model have no default, {lacking[0]!r} is one",
            where="defaults",
            hint="give each a value, or null for one that the model deals with itself",
        )
    if unknown := len(features.defaults.keys() - set(schema.names)):
        logger.info("%s: there are defaults for %d feature(s) that the model does not use", service, unknown)
    try:
        DefaultValues(schema, features.defaults)
    except FeatureError as error:
        raise ConfigError(error.message, where="defaults") from None
