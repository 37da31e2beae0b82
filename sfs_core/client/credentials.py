"""What a caller sends to be known by, and where it may be sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from sfs_core.client.target import Target
from sfs_core.errors import ConfigError

__all__ = ["sent_headers"]

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SECRET: Final = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})
"""Headers that hold credentials, whoever names them."""


def sent_headers(
    target: Target,
    api_key: str | None = None,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    plain_credentials: bool = False,
) -> dict[str, str]:
    """The headers of every request to a server.

    Args:
        target: the server.
        api_key: sent as `X-API-Key`.
        token: sent as `Authorization: Bearer …`.
        headers: further ones.
        plain_credentials: send credentials without TLS to other machines, too.

    Raises:
        ConfigError: a name or a value cannot be a header's, the protocol has no place for headers, or credentials
            would go over the network in the clear.
    """
    sent = dict(headers or {})
    if api_key is not None:
        sent["X-API-Key"] = api_key
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    for name, value in sent.items():
        if not _NAME.fullmatch(name):
            raise ConfigError("a header's name is empty or has characters that names cannot have")
        if not (value and value.isascii() and value.isprintable() and value == value.strip()):
            raise ConfigError(f"the value of header {name} is empty or has characters that headers cannot have")
    if sent and target.protocol == "baidu_std":
        raise ConfigError("baidu_std has no place for headers or credentials", hint="use http or grpc")
    secret = sorted(name for name in sent if name.lower() in _SECRET)
    if secret and not (target.tls or target.is_local or plain_credentials):
        raise ConfigError(
            f"{', '.join(secret)} would go to {target.address} in the clear, for everybody on the way to read and use",
            hint="use https:// or grpcs://; where something else protects the way there, allow it by plain_credentials",
        )
    return sent
