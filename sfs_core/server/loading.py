"""From a service's config to a model that can be run: fetch the package, check it, open the feature source."""

from __future__ import annotations

import hashlib
import logging
import time
from concurrent.futures import Executor as Pool
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from sfs_core.config.loaded import LoadedConfig, LoadedService
from sfs_core.engine.executor import Executor
from sfs_core.engine.features import FeatureLookup
from sfs_core.engine.sources import Source
from sfs_core.errors import ConfigError, ErrorCode
from sfs_core.host.placed import placed
from sfs_core.model.cache import fetch_package
from sfs_core.model.consistency import model_version
from sfs_core.model.disclosure import disclosures
from sfs_core.model.package import Model, model_info, read_package
from sfs_core.model.validation import CheckedGraph, check_cluster, check_graph
from sfs_core.observe.server_metrics import ServerMetrics
from sfs_core.sdk.context import PluginContext
from sfs_core.server.desired import Package
from sfs_core.server.extensions import extensions_of
from sfs_core.server.observed import ObservedExecutor
from sfs_core.server.served import ServedModel
from sfs_core.server.sources import feature_source

__all__ = ["CheckedModel", "check_looks_up", "check_model", "open_model"]

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
    metrics: ServerMetrics | None = None,
) -> CheckedModel:
    """Fetch and check a service's model and make its feature source, without opening it. Blocks.

    Args:
        loaded: the config.
        service: the service in it.
        pool: for what takes long.
        metrics: what look-ups are counted into, if anything.

    Raises:
        SfsError: the package, the graph or the feature mapping is wrong.
    """
    config = loaded.config
    with placed(service.where("model", "source"), "the model source cannot be made"):
        source = service.model_source(service.model_options, _context(loaded, service))
    with placed(service.where("model", "source"), "the package cannot be fetched"):
        package = fetch_package(
            source,
            service.config.model.source.path,
            cache=config.cache,
            service=service.config.service,
            sha256=service.config.model.sha256,
            progress=_LoggedProgress(service.config.service),
        )
    model = read_package(package, name=_package_name(service))
    checked = check_graph(model.graph, loaded.registry.operator, loaded.operator_options)
    check_cluster(checked, list(config.parties))
    for sentence in disclosures(checked):
        logger.info("%s: %s", service.config.service, sentence)
    for warning in checked.warnings:
        logger.warning("%s: %s", service.config.service, warning)
    return CheckedModel(model, checked, _feature_lookup(loaded, service, checked, pool, metrics))


def _package_name(service: LoadedService) -> str:
    """What users know the package by: its place in the config and its file's name, without what a URL may hide."""
    file = service.config.model.source.path.partition("?")[0].rpartition("/")[2]
    return f"{service.where('model', 'source', 'path')} ({file})"


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


def _feature_lookup(
    loaded: LoadedConfig, service: LoadedService, checked: CheckedGraph, pool: Pool, metrics: ServerMetrics | None
) -> FeatureLookup:
    name, features = service.config.service, service.config.features
    mapping = features.mapping if features else {}
    unknown = sorted(set(mapping.values()) - set(checked.feature_schema.names))
    if unknown:
        logger.info("%s: the mapping names %d feature(s) that the model does not use", name, len(unknown))
    source, caches = feature_source(service, _context(loaded, service), checked.feature_schema, pool, metrics)
    if source is None and len(checked.feature_schema):
        logger.warning("%s: no feature source is configured, only predefined features can be scored", name)
    return FeatureLookup(checked.feature_schema, mapping, source, caches)


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
    pa.array(np.zeros(1))  # at its first conversion pyarrow imports more, which takes 0.1 s: let no request wait for it
    source = checked.lookup.source
    if source is not None:
        source.open()
    config, features = loaded.config, service.config.features
    precompute = features.precompute if features is not None else None
    arguments = (
        config.party,
        sorted(config.parties),
        checked.graph,
        checked.lookup,
        pool,
        precompute.max_memory if precompute is not None else 0,
    )
    if metrics is None and config.logging.slow is None:
        executor = Executor(*arguments)
        _precompute(service, executor)
    else:
        executor = ObservedExecutor(*arguments)
        _precompute(service, executor)
        executor.observe(service.config.service, metrics)
    info = model_info(checked.model)
    version = model_version(info, service.config.model.version)
    extensions = extensions_of(executor.operators.values())
    return ServedModel(
        service.config.service,
        version,
        f"{version}.{_package_id(checked.model.digest, extensions)}",
        info,
        checked.graph.graph,
        executor,
        Package(service.config.model.source.path, checked.model.digest, service.config.model.version),
        extensions=extensions,
        per_row=features is not None and features.missing == "per_row",
    )


def check_looks_up(loaded: LoadedConfig, service: LoadedService, source: Source | None) -> None:
    """Check that a feature source, which is or was open, can serve look-ups where the config turns no bulk scoring on.

    Raises:
        ConfigError: it gives rows in their order, so that a row would depend on who else asks (code 7).
    """
    if source is not None and source.row_count >= 0 and loaded.config.bulk_scoring is None:
        raise ConfigError(
            "the feature source gives rows in their order, whatever ids are asked for: it is for bulk scoring only",
            code=ErrorCode.LOGIC_ERROR,
            where=service.where("features"),
            hint="sfs bulk here, sfs serve --bulk-requester at the others; to look rows up by id there is `csv`",
        )


def _package_id(digest: str, extensions: frozenset[str]) -> str:
    """Names a package with what its operators announce: where either changes, the parties must agree anew."""
    if extensions:
        digest = hashlib.sha256(",".join([digest, *sorted(extensions)]).encode()).hexdigest()
    return digest[:16]


def _precompute(service: LoadedService, executor: Executor) -> None:
    """What the config asks to be computed ahead; the log says why something is not."""
    features, name = service.config.features, service.config.service
    if features is None or features.precompute is None:
        return
    if executor.precomputed is None:
        logger.warning(
            "%s: nothing is precomputed: an operator of the first execution does not say that it works row by row", name
        )
    elif features.precompute.at == "load":
        ids = executor.precompute()
        rows = executor.precomputed
        if not ids:
            logger.warning("%s: nothing is computed ahead: a feature source does not tell its ids", name)
        else:
            logger.info("%s: %d of %d rows computed ahead, %d bytes", name, len(rows), ids, rows.size)
