"""This party's key pair: from its model package, or its secret part from the config."""

from __future__ import annotations

import threading
from contextlib import suppress
from weakref import WeakKeyDictionary

from sfs_core import Cluster, ErrorCode, GraphError

from .config import PheConfig
from .keys import PublicKey, SecretKey
from .schemes import fingerprint, read_public_key, read_secret_key
from .wire import WireError

__all__ = ["own_keys", "public_key_of"]

_found: WeakKeyDictionary[Cluster, dict[PheConfig, SecretKey]] = WeakKeyDictionary()
_lock = threading.Lock()


def own_keys(cluster: Cluster, config: PheConfig) -> SecretKey:
    """This party's secret key, with its public key: looked for once for all operators with equal options.

    Raises:
        GraphError: one is missing or damaged, or they do not belong together (code 7).
    """
    with _lock:
        found = _found.setdefault(cluster, {})
        if config not in found:
            found[config] = _secret_key(cluster, config, public_key_of(cluster, cluster.party, config.digit_bits))
        return found[config]


def public_key_of(cluster: Cluster, party: str, digit_bits: int) -> PublicKey:
    """A party's public key.

    Raises:
        GraphError: it is missing, or no key that can be served (code 7).
    """
    data = cluster.public_keys.get(party)
    if not data:
        raise GraphError(f"party {party} has no public key", hint="its model package must hold he_config with pk_buf")
    try:
        return read_public_key(data, digit_bits)
    except WireError as error:
        raise _unfit(error, party) from None


def _secret_key(cluster: Cluster, config: PheConfig, public: PublicKey) -> SecretKey:
    """The secret key of the package, else the one of the config that belongs to the public key."""
    if cluster.secret_key:
        try:
            return read_secret_key(cluster.secret_key, public)
        except WireError as error:
            raise _unfit(error, cluster.party) from None
    keys = config.secret_key_bytes()
    for key in keys:
        with suppress(WireError):
            return read_secret_key(key, public)
    if keys:
        raise GraphError(
            f"party {cluster.party}: none of the {len(keys)} secret_keys of the config is that of the public key "
            f"{fingerprint(public.n)} of its model package",
            hint="`sfs he inspect FILE` shows which public key a key file or a package has",
        )
    raise GraphError(
        f"party {cluster.party} has no secret key",
        hint="its model package must hold he_config with sk_buf, or its config "
        "`operators: {sfs-op-phe: {secret_keys: [...]}}`",
    )


def _unfit(error: WireError, party: str) -> GraphError:
    return GraphError(
        error.message, code=ErrorCode.LOGIC_ERROR, party=party, hint="export the model again, or regenerate its keys"
    )
