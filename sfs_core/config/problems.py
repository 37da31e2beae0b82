"""What is wrong with a config file: collected, so that all of it is told at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from sfs_core.errors import ConfigError

__all__ = ["Place", "Problems", "path_text"]

Place = tuple[str | int, ...]
"""Where a value stands: keys and list positions from the root."""

_MOST_SHOWN: Final = 50
_SHORTEST_SECRET: Final = 3
"""Hidden texts shorter than this would be found by chance in the words of messages."""


def path_text(path: Sequence[str | int]) -> str:
    """A path as people write it: `services[0].model.source`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _outwards(where: str) -> Iterator[str]:
    """A place and all that it is inside of."""
    yield where
    while cut := max(where.rfind("."), where.rfind("["), 0):
        where = where[:cut]
        yield where


class Problems:
    """The problems of one file: at most one for each place, in the order of lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[str, tuple[int, str]] = {}
        self._hidden: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, line: int, where: str, message: str, hint: str = "") -> None:
        """Note a problem; one at the same place or inside it would only follow from the first."""
        if not any(outer in self._found for outer in _outwards(where)):
            self._found[where] = line, self.redacted(f"{message} (hint: {hint})" if hint else message)

    def hide(self, text: str, instead: str) -> None:
        """Show `instead` in all messages from here on that would quote `text`."""
        if len(text) >= _SHORTEST_SECRET:
            self._hidden[text] = instead
            self._hidden[repr(text)[1:-1]] = instead

    def keep(self, where: str) -> None:
        """Forget all problems but those at a place, or of what it is inside of."""
        self._found = {each: self._found[each] for each in _outwards(where) if each in self._found}

    def redacted(self, text: str) -> str:
        """The text without anything hidden."""
        if not self._hidden:
            return text
        longest_first = sorted(map(re.escape, self._hidden), key=len, reverse=True)
        return re.sub("|".join(longest_first), lambda match: self._hidden[match[0]], text)

    def error(self) -> ConfigError:
        """Everything found, as one error."""
        found = sorted(self._found.items(), key=lambda item: item[1][0])
        shown = [f"{self._path}:{line} {where}".rstrip() + f": {text}" for where, (line, text) in found[:_MOST_SHOWN]]
        if len(found) > _MOST_SHOWN:
            shown.append(f"and {len(found) - _MOST_SHOWN} more")
        count = "1 problem" if len(found) == 1 else f"{len(found)} problems"
        return ConfigError(f"{self._path}: {count}", problems=tuple(shown))
