"""Matrices of numbers, encrypted and plain, as they stand in the cells of tables and in model packages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gmpy2 import mpz

from sfs_core import Batch, GraphError

from .keys import PublicKey
from .wire import (
    WireError,
    join_matrix,
    read_ciphertext,
    read_ciphertext_text,
    read_matrix,
    read_plaintext,
    write_ciphertext,
    write_ciphertext_text,
    write_matrix,
    write_plaintext,
)

__all__ = [
    "CipherItems",
    "CipherMatrix",
    "PlainMatrix",
    "add_to_text",
    "cells_of",
    "read_cipher_matrix",
    "read_one_ciphertext",
    "read_plain_matrix",
    "write_cipher_matrix",
    "write_one_ciphertext",
    "write_plain_matrix",
]


@dataclass(frozen=True, slots=True)
class CipherMatrix:
    """Ciphertexts as representatives, column by column."""

    rows: int
    columns: int
    dimensions: int
    items: Sequence[mpz]


@dataclass(frozen=True, slots=True, repr=False)
class PlainMatrix:
    """Integers, column by column. They may be secret: they show in no representation."""

    rows: int
    columns: int
    dimensions: int
    items: Sequence[int]


def read_cipher_matrix(data: bytes, key: PublicKey) -> CipherMatrix:
    """A matrix of ciphertexts under a key.

    Raises:
        WireError: it is none, or a ciphertext cannot be one under this key.
    """
    matrix = read_matrix(data)
    items = [read_ciphertext(item, key.scheme) for item in matrix.items]
    key.check_ciphertexts(items)
    return CipherMatrix(matrix.rows, matrix.columns, matrix.dimensions, items)


class CipherItems:
    """A matrix of ciphertexts under a key, of which only those are read that are asked for.

    Raises:
        WireError: it is no matrix.
    """

    def __init__(self, data: bytes, key: PublicKey) -> None:
        matrix = read_matrix(data)
        self.rows, self.columns = matrix.rows, matrix.columns
        self._items, self._key = matrix.items, key

    def read(self, places: Iterable[int]) -> dict[int, mpz]:
        """The representatives at some places, counted column by column.

        Raises:
            WireError: one of them cannot be a ciphertext under the key.
        """
        items, scheme = self._items, self._key.scheme
        found = {place: read_ciphertext(items[place], scheme) for place in places}
        self._key.check_ciphertexts(found.values())
        return found


def write_cipher_matrix(rows: int, columns: int, dimensions: int, items: Iterable[mpz], key: PublicKey) -> bytes:
    """Representatives under a key, given column by column, as a matrix."""
    return join_matrix(rows, columns, dimensions, [write_ciphertext_text(item, key.scheme) for item in items])


def add_to_text(text: bytes, power: mpz, key: PublicKey) -> bytes:
    """A ciphertext of this party's making, a text, with the message added that a residue stands for."""
    return write_ciphertext_text(read_ciphertext_text(text, key.scheme) * power % key.modulus, key.scheme)


def read_one_ciphertext(data: bytes, key: PublicKey) -> mpz:
    """A single ciphertext's representative; a matrix with one item will do, too.

    Raises:
        WireError: it is neither, or cannot be one under this key.
    """
    if data[:1] == b"\x94":
        matrix = read_cipher_matrix(data, key)
        if len(matrix.items) != 1:
            raise WireError(f"{len(matrix.items)} ciphertexts where one is expected")
        return matrix.items[0]
    value = read_ciphertext(data, key.scheme)
    key.check_ciphertexts([value])
    return value


def write_one_ciphertext(representative: mpz, key: PublicKey) -> bytes:
    """A single ciphertext."""
    return write_ciphertext(representative, key.scheme)


def read_plain_matrix(data: bytes) -> PlainMatrix:
    """A matrix of plaintexts.

    Raises:
        WireError: it is none.
    """
    matrix = read_matrix(data)
    items = [int(read_plaintext(item)) for item in matrix.items]
    return PlainMatrix(matrix.rows, matrix.columns, matrix.dimensions, items)


def write_plain_matrix(rows: int, columns: int, dimensions: int, items: Iterable[int]) -> bytes:
    """Integers, given column by column, as a matrix."""
    return write_matrix(rows, columns, dimensions, [write_plaintext(item) for item in items])


def cells_of(batch: Batch) -> tuple[Any, ...]:
    """The values of a table with one row, which is what encrypted tables have.

    Raises:
        GraphError: it has another number of rows.
        FeatureError: a value is null (code 3).
    """
    if batch.num_rows != 1:
        raise GraphError(f"an encrypted table has one row, {batch.num_rows} came")
    return tuple(batch.rows()[0])
