"""What operators can do with each other beyond the reference's protocol, where all parties of a model can."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Final

from sfs_core.sdk.operator import Operator

__all__ = ["agreed_extensions", "extensions_of"]

logger = logging.getLogger("sfs.handshake")

_NAME: Final = re.compile(r"[a-z0-9-]+/[a-z0-9.-]+")
"""Plugin and extension; names without a slash are core's own."""


def extensions_of(operators: Iterable[Operator]) -> frozenset[str]:
    """What the operators of a model announce together.

    Raises:
        GraphError: a name is not of the form `plugin/extension` (code 7).
    """
    names: set[str] = set()
    for operator in operators:
        for name in operator.extensions():
            operator.require(_NAME.fullmatch(name) is not None, f"extension {name!r} is not named plugin/extension")
            names.add(name)
    return frozenset(names)


def agreed_extensions(service: str, own: frozenset[str], told: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Those that every party has switched on; the log says which are not used, and why.

    Args:
        service: the model's.
        own: what this party announces.
        told: what each other party announced.
    """
    for name in sorted(own):
        if lacking := ", ".join(sorted(party for party, names in told.items() if name not in names)):
            logger.warning("%s: %s is not used: it is switched off, or not known, at %s", service, name, lacking)
    for party, names in sorted(told.items()):
        for name in sorted(name for name in names - own if _NAME.fullmatch(name)):
            logger.info("%s: %s is not used: %s would, here it is switched off", service, name, party)
    return own.intersection(*told.values())
