"""Texts of other parties, made fit for our own errors and logs."""

from __future__ import annotations

from typing import Final

__all__ = ["short_text"]

_LONGEST: Final = 500


def short_text(text: str) -> str:
    """One printable line of bounded length."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 2 * _LONGEST]).split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} …"
