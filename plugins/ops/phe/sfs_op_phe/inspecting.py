"""What model packages and key files hold, told to people without any secret."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gmpy2 import mpz

from sfs_core import HeKeys, NodeSpec, SfsError, read_package

from .key_files import describe_key, read_key_file
from .keys import PublicKey, SecretKey
from .numbers import check_scale
from .schemes import fingerprint, is_scheme, modulus_of_secret_key, read_public_key, read_secret_key, scheme_name
from .wire import Matrix, WireError, read_ciphertext, read_matrix, read_plaintext, split_tag

__all__ = ["inspect_file"]

_PREFIX: Final = "PHE_2P_"
_GZIP: Final = b"\x1f\x8b"
_PLAIN: Final = frozenset(["weight_shard"])
_PLAUSIBLE_BITS: Final = 128


def inspect_file(path: Path) -> tuple[list[str], list[str]]:
    """Lines about a model package or a key file, and what is wrong with it.

    Raises:
        SfsError: it cannot be read at all.
    """
    with path.open("rb") as file:
        is_package = file.read(2) == _GZIP
    try:
        return _Package(path).told() if is_package else ([f"{path}: {_key_line(read_key_file(path))}"], [])
    except SfsError as error:
        error.where = error.where or str(path)
        raise


def _key_line(data: bytes) -> str:
    _, scheme = split_tag(data)
    if not is_scheme(scheme):
        raise WireError("it is no key, or one that was cut off")
    try:
        name, modulus = modulus_of_secret_key(data)
    except WireError:
        key = read_public_key(data)
        return f"public key, {describe_key(key)}, {fingerprint(key.n)}"
    return f"secret key, {name}, {modulus.bit_length()} bits, {fingerprint(modulus)}"


class _Package:
    """A model package on its way to words."""

    def __init__(self, path: Path) -> None:
        self._model = read_package(path)
        self._problems: list[str] = []
        self._lines = [f"{path}: model {self._model.name!r}"]
        self._public: PublicKey | None = None
        self._secret: SecretKey | None = None

    def told(self) -> tuple[list[str], list[str]]:
        """Lines, and what is wrong."""
        keys = self._model.graph.he
        nodes = [node for node in self._model.graph.nodes.values() if node.op.startswith(_PREFIX)]
        if keys is not None and keys.public_key:
            self._tell_keys(keys)
        else:
            self._lines.append("  no keys")
            if nodes:
                self._problems.append("encrypted nodes need he_config with pk_buf")
        for node in nodes:
            self._tell_node(node)
        return self._lines, self._problems

    def _tell_keys(self, keys: HeKeys) -> None:
        try:
            self._public = read_public_key(keys.public_key)
            self._lines.append(f"  public key: {describe_key(self._public)}, {fingerprint(self._public.n)}")
            if keys.secret_key:
                self._secret = read_secret_key(keys.secret_key, self._public)
            self._lines.append(f"  secret key: {'inside' if keys.secret_key else 'not inside'}")
            check_scale(keys.encode_scale)
            self._lines.append(f"  scale of weights: {keys.encode_scale}")
        except SfsError as error:
            self._problems.append(error.message)

    def _tell_node(self, node: NodeSpec) -> None:
        for name, attribute in node.attributes.items():
            if attribute.case == "by" and attribute.value:
                place = f"{node.name} ({node.op}) {name}"
                try:
                    self._lines.append(
                        f"  {place}: {self._content(name, attribute.value)}, {len(attribute.value)} bytes"
                    )
                except SfsError as error:
                    self._problems.append(f"{place}: {error.message}")

    def _content(self, attribute: str, data: bytes) -> str:
        matrix = read_matrix(data) if data[:1] == b"\x94" else Matrix(1, 1, 0, [data])
        shape = f"{matrix.rows} x {matrix.columns}"
        if attribute in _PLAIN:
            bits = max(int(read_plaintext(item)).bit_length() for item in matrix.items)
            return f"{shape} plain numbers of up to {bits} bits"
        _, scheme = split_tag(matrix.items[0])
        if self._public is None:
            return f"{shape} ciphertexts of scheme {scheme_name(scheme)}"
        items = [read_ciphertext(item, self._public.scheme) for item in matrix.items]
        return f"{shape} ciphertexts of scheme {self._public.scheme_name}{self._whose(items, self._public)}"

    def _whose(self, items: Sequence[mpz], own: PublicKey) -> str:
        """That another party's key encrypts them, where the package's own keys can tell."""
        if self._secret is None:
            return ""
        if items[0] < own.modulus:
            (number,) = self._secret.decrypt(items[:1])
            if number.bit_length() <= _PLAUSIBLE_BITS:
                raise WireError("this party's own key encrypts it, so this party could read it")
        return " under another party's key"
