"""Feature look-up of one service: from the request to a table with the model's names."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from math import inf

from sfs_core.batch import Batch, Schema
from sfs_core.codec.features import Feature, batch_of_features, feature_rows
from sfs_core.engine.cache import CachedSource
from sfs_core.engine.coroutines import in_time
from sfs_core.engine.joined import JoinedSource
from sfs_core.engine.sources import Source, source_failed, too_late
from sfs_core.errors import FeatureError
from sfs_core.sdk.feature_source import FeatureQuery, FeatureResult

__all__ = ["FeatureLookup", "source_schema"]


def source_schema(model_schema: Schema, mapping: Mapping[str, str]) -> Schema:
    """The model's features under their names at the source.

    Args:
        model_schema: names and types that the model needs.
        mapping: name at the source: name in the model. Features without an entry keep their name.
    """
    source_names = {model: source for source, model in mapping.items()}
    return Schema(
        (source_names.get(name, name), type_)
        for name, type_ in zip(model_schema.names, model_schema.types, strict=True)
    )


class FeatureLookup:
    """Fetches features from a source, or converts those sent along, and renames them to the model's names.

    Attributes:
        source: where they come from, if anywhere.
        caches: those in front of sources, for whoever counts hits and misses.
    """

    def __init__(
        self,
        model_schema: Schema,
        mapping: Mapping[str, str],
        source: Source | None,
        caches: tuple[CachedSource, ...] = (),
    ) -> None:
        self.caches = caches
        self.model_schema = model_schema
        self.source = source
        self.source_schema = source_schema(model_schema, mapping)

    def fetch(self, query: FeatureQuery) -> FeatureResult | Awaitable[FeatureResult]:
        """The features of `query.ids`, those that have any; at once where the source only touches memory.

        Raises:
            FeatureError: no source is configured (code 3), the source found something wrong, or the query's time is
                up (102).
        """
        if not len(self.model_schema):
            return FeatureResult(Batch(Schema(), len(query.ids), []))
        if self.source is None:
            raise FeatureError(
                "this party has no feature source", hint="add `features: {source: …}` to the service in its config"
            )
        try:
            result = self.source.fetch(query)
        except Exception as error:
            raise source_failed(error, self.source) from error
        if isinstance(result, FeatureResult):
            return self._renamed(result)
        if query.deadline != inf and not isinstance(self.source, JoinedSource):
            result = in_time(result, query.deadline, too_late([self.source]))
        return self._fetch_later(result)

    async def _fetch_later(self, pending: Awaitable[FeatureResult]) -> FeatureResult:
        assert self.source is not None
        try:
            return self._renamed(await pending)
        except Exception as error:
            raise source_failed(error, self.source) from error

    def _renamed(self, result: FeatureResult) -> FeatureResult:
        if self.source_schema is not self.model_schema:
            result.batch = result.batch.renamed(self.model_schema)
        return result

    def convert(self, features: Sequence[Feature]) -> Batch:
        """Features sent along with a request, under their names at the source.

        Raises:
            FeatureError: as `codec.features.batch_of_features`.
        """
        if not len(self.model_schema):
            return Batch(Schema(), feature_rows(features), [])
        return batch_of_features(features, self.source_schema).renamed(self.model_schema)
