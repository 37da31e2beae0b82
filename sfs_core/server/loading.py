"""From a service's config to a model that can be run: fetch the package, check it, open the feature source."""

from __future__ import annotations

import logging
import time
from concurrent.futures import Executor as Pool
from dataclasses import dataclass
from typing import Final

from sfs_core.batch import Schema
from sfs_core.config.loader import LoadedConfig, LoadedService
from sfs_core.config.schema import Features
from sfs_core.engine.executor import Executor
from sfs_core.engine.features import FeatureLookup, source_schema
from sfs_core.engine.missing import DefaultValues, leave_out
from sfs_core.engine.sources import PolicySource, Source
from sfs_core.errors import ConfigError, FeatureError, SfsError
from sfs_core.model.cache import fetch_package
from sfs_core.model.package import Model, model_info, read_package
from sfs_core.model.validation import CheckedGraph, check_cluster, check_graph
from sfs_core.observe.server_metrics import ServerMetrics
from sfs_core.sdk.context import FeatureContext, PluginContext
from sfs_core.server.observed import ObservedExecutor
from sfs_core.server.served import ServedModel

__all__ = ["CheckedModel", "check_model", "open_model"]

logger = logging.getLogger("sfs.load")

PROGRESS_SECONDS: Final = 2.0
"""Between two words about a download."""


@dataclass(frozen=True, slots=True)
class CheckedModel:
    """A package that was fetched, read, and found fit for the cluster."""

    model: Model
    graph: CheckedGraph
    lookup: FeatureLookup


def check_model(
    loaded: LoadedConfig,
    service: LoadedService,
    pool: Pool,
) -> CheckedModel:
    """Fetch and check a service's model and make its feature source, without opening it. Blocks.

    Raises:
        SfsError: the package, the graph or the feature mapping is wrong.
    """
    config = loaded.config
    source = service.model_source(service.model_options, _context(loaded, service))
    package = fetch_package(
        source,
        service.config.model.source.path,
        cache=config.cache,
        service=service.config.service,
        sha256=service.config.model.sha256,
        progress=_LoggedProgress(service.config.service),
    )
    model = read_package(package)
    checked = check_graph(model.graph, loaded.registry.operator)
    check_cluster(checked, list(config.parties))
    for warning in checked.warnings:
        logger.warning("%s: %s", service.config.service, warning)
    return CheckedModel(model, checked, _feature_lookup(loaded, service, checked, pool))


class _LoggedProgress:
    """Tells in the log how far a download is that takes long."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._next = time.monotonic() + PROGRESS_SECONDS

    def __call__(self, done: int, total: int | None = None) -> None:
        if time.monotonic() >= self._next:
            self._next += PROGRESS_SECONDS
            of = f" of {total / 1e6:.0f}" if total else ""
            logger.info("%s: %.0f%s MB of the model package are here", self._service, done / 1e6, of)


def _context(loaded: LoadedConfig, service: LoadedService) -> PluginContext:
    name = service.config.service
    return PluginContext(name, loaded.config.party, logging.getLogger(f"sfs.source.{name}"), loaded.base_directory)


def _feature_lookup(loaded: LoadedConfig, service: LoadedService, checked: CheckedGraph, pool: Pool) -> FeatureLookup:
    name, features = service.config.service, service.config.features
    mapping = features.mapping if features else {}
    unknown = sorted(set(mapping.values()) - set(checked.feature_schema.names))
    if unknown:
        logger.info("%s: the mapping names %d feature(s) that the model does not use", name, len(unknown))
    source: Source | None = None
    if features is not None and service.feature_source is not None:
        context = _context(loaded, service)
        source = service.feature_source(
            service.feature_options,
            FeatureContext(
                context.service,
                context.party,
                context.logger,
                context.base_directory,
                source_schema(checked.feature_schema, mapping),
                pool,
                report_missing=features.missing != "error",
            ),
        )
        if features.missing == "per_row":
            source = PolicySource(source, leave_out)
        elif features.missing == "default":
            source = PolicySource(source, _default_values(name, features, checked.feature_schema))
    elif len(checked.feature_schema):
        logger.warning("%s: no feature source is configured, only predefined features can be scored", name)
    return FeatureLookup(checked.feature_schema, mapping, source)


def _default_values(service: str, features: Features, schema: Schema) -> DefaultValues:
    place = f"service {service}, features.defaults"
    if lacking := [name for name in schema.names if name not in features.defaults]:
        raise ConfigError(
            f"{len(lacking)} feature(s) of the model have no default, {lacking[0]!r} is one",
            where=place,
            hint="give each a value, or null for one that the model deals with itself",
        )
    if unknown := sorted(features.defaults.keys() - set(schema.names)):
        logger.info("%s: there are defaults for %d feature(s) that the model does not use", service, len(unknown))
    try:
        return DefaultValues(schema, features.defaults)
    except FeatureError as error:
        raise ConfigError(error.message, where=place) from None


def open_model(
    loaded: LoadedConfig,
    service: LoadedService,
    checked: CheckedModel,
    pool: Pool,
    metrics: ServerMetrics | None = None,
) -> ServedModel:
    """Open the feature source and make what requests are answered with. Blocks.

    Args:
        loaded: the config.
        service: the service in it.
        checked: its model.
        pool: for what takes long.
        metrics: what is counted into, if anything.

    Raises:
        SfsError: the feature source cannot work.
    """
    source = checked.lookup.source
    if source is not None:
        try:
            source.open()
        except SfsError:
            raise
        except Exception as error:
            raise ConfigError(
                f"the feature source failed to open ({type(error).__name__})",
                where=f"service {service.config.service}",
                detail=type(error).__name__,
            ) from error
    config, features = loaded.config, service.config.features
    arguments = config.party, sorted(config.parties), checked.graph, checked.lookup, pool
    if metrics is None:
        executor = Executor(*arguments)
    else:
        executor = ObservedExecutor(*arguments)
        executor.observe(service.config.service, metrics)
    return ServedModel(
        service.config.service,
        model_info(checked.model),
        checked.graph.graph,
        executor,
        per_row=features is not None and features.missing == "per_row",
    )
