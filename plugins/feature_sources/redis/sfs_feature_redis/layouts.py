"""Layouts: which commands get the rows, and how the answers become a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final

import msgspec
import pyarrow as pa

from sfs_core import Batch, ErrorCode, FeatureError, Schema, SfsError

from .options import RedisConfig
from .values import decoded_values, packed_floats, text_values, to_batch

__all__ = ["Command", "Layout", "OtherRowError", "layout_of"]

_CONTINUATION: Final = b"\xff\xff\xff\xff"
Command = tuple[Any, ...]


class OtherRowError(SfsError):
    """An answer holds the row of another id than the one that it should answer."""

    def __init__(self, row: int, id_field: str) -> None:
        super().__init__(
            f"row {row}: the field {id_field!r} of what Redis answers does not hold the id that was asked for",
            code=ErrorCode.FS_INTERNAL_ERROR,
            hint="see whether rows are under their own keys, and whether something on the way damages answers",
        )


class Layout(ABC):
    """One way to keep rows.

    Args:
        schema: of the features.
        fields: the field of each feature.
        id_field: the field of the row's own id, if it has one.
        keep_nulls: whether missing values become nulls, or errors.

    Attributes:
        answer_types: of right answers.
        wanted: all fields, that of the id last.
    """

    answer_types: ClassVar[frozenset[type]]

    def __init__(self, schema: Schema, fields: Sequence[str], id_field: str, *, keep_nulls: bool) -> None:
        self.schema = schema
        self.fields = tuple(fields)
        self.wanted = (*self.fields, id_field) if id_field else self.fields
        self.id_field = id_field
        self.keep_nulls = keep_nulls

    @abstractmethod
    def commands(self, keys: Sequence[bytes]) -> list[Command]:
        """The commands that get the keys' rows; the first answers are those of the keys, in order."""

    @abstractmethod
    def is_missing(self, answer: Any) -> bool:
        """Whether the answer is that of a key that does not exist."""

    @abstractmethod
    def batch(self, answers: Sequence[Any], ids: Sequence[str], extra: Sequence[Any]) -> Batch:
        """The rows of the answers, one each, none of them missing.

        Args:
            answers: one per row.
            ids: of the rows.
            extra: the answers to commands beyond one per key.

        Raises:
            FeatureError: a value is missing or does not fit (names column and row index).
            OtherRowError: a row is not that of its id.
        """

    def _require_id(self, found: Any, id_: str, row: int) -> None:
        """See that what a row's field of its id holds is the id."""
        if found is None:
            raise FeatureError(
                f"row {row}: there is no field {self.id_field!r}, which should hold the row's id",
                hint="write it along with the features, or leave `id_field` away",
            )
        if type(found) is bytes:
            found = found.decode("utf-8", "surrogatepass")
        if (str(found) if type(found) is int else found) != id_:
            raise OtherRowError(row, self.id_field)

    def _features(self, rows: Sequence[Any], ids: Sequence[str]) -> Sequence[Any]:
        """The features of rows of all fields wanted, whose ids are looked at."""
        if not self.id_field:
            return rows
        for i, (row, id_) in enumerate(zip(rows, ids, strict=True)):
            self._require_id(row[-1], id_, i)
        return [row[:-1] for row in rows]


class HashLayout(Layout):
    """A hash per row, a text per field.

    HMGET names every field it wants, HGETALL returns those that nobody wants, too: the better one is chosen by the
    number of fields that hashes turn out to have.
    """

    answer_types = frozenset({list, dict})

    def __init__(self, schema: Schema, fields: Sequence[str], id_field: str, *, keep_nulls: bool) -> None:
        super().__init__(schema, fields, id_field, keep_nulls=keep_nulls)
        self._encoded = [field.encode() for field in self.wanted]
        self._most = 2 * len(self.wanted)
        self._whole: bool | None = None

    def commands(self, keys: Sequence[bytes]) -> list[Command]:
        """One per key; the first time, also the number of fields of one hash."""
        if self._whole or not self.wanted:
            return [("HGETALL", key) for key in keys]
        length = [("HLEN", keys[0])] if self._whole is None else []
        return [*(("HMGET", key, *self._encoded) for key in keys), *length]

    def is_missing(self, answer: Any) -> bool:
        """A hash without any of the fields is as good as none."""
        return not answer or (type(answer) is list and answer.count(None) == len(answer))

    def batch(self, answers: Sequence[Any], ids: Sequence[str], extra: Sequence[Any]) -> Batch:
        """Texts, parsed."""
        if extra and isinstance(extra[0], int):
            self._whole = extra[0] <= self._most
        elif type(answers[0]) is dict:
            self._whole = len(answers[0]) <= self._most
        rows = [[row.get(f) for f in self._encoded] if type(row) is dict else row for row in answers]
        if set(map(len, rows)) != {len(self.wanted)}:
            raise FeatureError("what Redis answers has not as many values as fields were asked for")
        features = self._features(rows, ids)
        packed = packed_floats(self.schema, features)
        return packed or to_batch(self.schema, features, text_values, keep_nulls=self.keep_nulls)


class _StringLayout(Layout):
    answer_types = frozenset({bytes, type(None)})

    def commands(self, keys: Sequence[bytes]) -> list[Command]:
        """One GET per key, which a cluster can send to its nodes."""
        return [("GET", key) for key in keys]

    def is_missing(self, answer: Any) -> bool:
        """No string."""
        return answer is None


class ObjectLayout(_StringLayout):
    """A string per row, with a map from field to value.

    Args:
        decode: from the string to the map.
        what: how the string is called in errors.
    """

    def __init__(
        self,
        schema: Schema,
        fields: Sequence[str],
        id_field: str,
        *,
        keep_nulls: bool,
        decode: Callable[[bytes], Any],
        what: str,
    ) -> None:
        super().__init__(schema, fields, id_field, keep_nulls=keep_nulls)
        self._decode = decode
        self._what = what

    def batch(self, answers: Sequence[Any], ids: Sequence[str], extra: Sequence[Any]) -> Batch:
        """Values with types of their own, checked."""
        rows = []
        for i, answer in enumerate(answers):
            try:
                row = self._decode(answer)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raise FeatureError(f"row {i}: what the key holds is no {self._what}") from None
            rows.append([row.get(field) for field in self.wanted])
        return to_batch(self.schema, self._features(rows, ids), decoded_values, keep_nulls=self.keep_nulls)


class ArrowLayout(_StringLayout):
    """A string per row: an Arrow IPC stream of one row, with exactly the schema's types."""

    def __init__(self, schema: Schema, fields: Sequence[str], id_field: str, *, keep_nulls: bool) -> None:
        super().__init__(schema, fields, id_field, keep_nulls=keep_nulls)
        self._same_names = self.fields == schema.names
        self._head, self._head_schema = b"", None

    def batch(self, answers: Sequence[Any], ids: Sequence[str], extra: Sequence[Any]) -> Batch:
        """The rows' columns, joined."""
        rows = [self._row(answer, id_, i) for i, (answer, id_) in enumerate(zip(answers, ids, strict=True))]
        if not self.fields:
            return Batch(self.schema, len(rows), rows=[()] * len(rows))
        joined = rows[0]
        if len(rows) > 1:
            joined = pa.Table.from_batches(rows, self.schema.arrow).combine_chunks().to_batches()[0]
        if self.schema.all_float64:
            with suppress(pa.ArrowException):  # there are nulls
                return Batch.from_matrix(self.schema, joined.to_tensor().to_numpy())
        columns = joined.columns
        if not self.keep_nulls:
            for name, column in zip(self.schema.names, columns, strict=True):
                if column.null_count:
                    row = column.is_null().to_pylist().index(True)
                    raise FeatureError(
                        f"column {name!r}, row {row}: there is no value",
                        hint="fill it in Redis, or set `nulls: keep` if the model deals with nulls",
                    )
        return Batch.from_columns(self.schema, columns, len(rows))

    def _row(self, data: bytes, id_: str, i: int) -> Any:
        try:
            row = self._read(data)
            row.validate(full=True)
        except (pa.ArrowException, OSError, StopIteration):
            raise FeatureError(f"row {i}: what the key holds is no Arrow IPC stream") from None
        if row.num_rows != 1:
            raise FeatureError(f"row {i}: the Arrow stream holds {row.num_rows} rows, not one")
        if self.id_field:
            at = row.schema.get_field_index(self.id_field)
            self._require_id(None if at < 0 else row.column(at)[0].as_py(), id_, i)
        if self._same_names and row.schema.equals(self.schema.arrow):
            return row
        columns = []
        for name, field, type_ in zip(self.schema.names, self.fields, self.schema.types, strict=True):
            at = row.schema.get_field_index(field)
            if at < 0 and self.keep_nulls and field not in row.schema.names:
                columns.append(pa.nulls(1, type_))
                continue
            if at < 0:
                raise FeatureError(f"column {name!r}, row {i}: there is no value")
            if row.schema.field(at).type != type_:
                raise FeatureError(f"column {name!r}, row {i}: {row.schema.field(at).type}, {type_} is needed")
            columns.append(row.column(at))
        return pa.RecordBatch.from_arrays(columns, schema=self.schema.arrow)

    def _read(self, data: bytes) -> Any:
        """The stream's first batch. Rows begin with the same schema, which takes most of the time: read it once."""
        if self._head and data.startswith(self._head):
            return pa.ipc.read_record_batch(pa.ipc.read_message(data[len(self._head) :]), self._head_schema)
        with pa.ipc.open_stream(data) as stream:
            row = stream.read_next_batch()
            if data.startswith(_CONTINUATION):
                self._head = data[: 8 + int.from_bytes(data[4:8], "little")]  # mark, length, metadata; it has no body
                self._head_schema = row.schema
        return row


_JSON: Final = msgspec.json.Decoder(dict[str, Any])
_MSGPACK: Final = msgspec.msgpack.Decoder(dict[str, Any])


def layout_of(config: RedisConfig, schema: Schema, fields: Sequence[str], *, keep_nulls: bool) -> Layout:
    """The layout that the options name, if it is not Feast's."""
    if config.layout == "hash":
        return HashLayout(schema, fields, config.id_field, keep_nulls=keep_nulls)
    if config.layout == "arrow":
        return ArrowLayout(schema, fields, config.id_field, keep_nulls=keep_nulls)
    decode, what = (_JSON.decode, "JSON object") if config.layout == "json" else (_MSGPACK.decode, "MessagePack map")
    return ObjectLayout(schema, fields, config.id_field, keep_nulls=keep_nulls, decode=decode, what=what)
