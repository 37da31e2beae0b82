"""Types of options that several parts of a config share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

__all__ = ["Bytes", "FilePath", "HeaderName", "HeaderValue", "Id", "Port", "Seconds"]

_SAFE_ID: Final = re.compile(r"[^\s./\\][^/\\]{0,127}")
_DURATION: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|min)?\s*")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e]*")
_LONGEST_SECONDS: Final = 2_147_484
"""As long as the 32 bits of the reference's milliseconds can say."""
_UNITS: Final = {"ms": 1e-3, "s": 1.0, None: 1.0, "min": 60.0}


def _safe_id(value: str) -> str:
    if not _SAFE_ID.fullmatch(value) or not value.isprintable():
        raise ValueError("1 to 128 characters are expected, none of them a slash, and no dot or space at the beginning")
    return value


def _seconds(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value)
    if match is None:
        raise ValueError("a number of seconds is expected, or a text like '500 ms', '2 s', '1 min'")
    return float(match[1]) * _UNITS[match[2]]


def _expanded(value: Path) -> Path:
    try:
        return value.expanduser()
    except RuntimeError:
        raise ValueError("there is no such home directory") from None


def _header_name(value: str) -> str:
    if not _HEADER_NAME.fullmatch(value):
        raise ValueError("the name of an HTTP header is expected")
    return value


def _header_value(value: SecretStr) -> SecretStr:
    if not _HEADER_VALUE.fullmatch(value.get_secret_value()):
        raise ValueError("one line of ASCII is expected")
    return value


Id = Annotated[str, AfterValidator(_safe_id)]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[
    float,
    BeforeValidator(_seconds, json_schema_input_type=float | Annotated[str, Field(pattern=f"^{_DURATION.pattern}$")]),
    Field(gt=0, le=_LONGEST_SECONDS, allow_inf_nan=False),
]
Bytes = Annotated[int, Field(gt=0)]
FilePath = Annotated[Path, AfterValidator(_expanded)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
"""The name of an HTTP header, as one line can carry it."""
HeaderValue = Annotated[SecretStr, AfterValidator(_header_value)]
"""The value of an HTTP header, as one line can carry it; secret, as it often is."""
