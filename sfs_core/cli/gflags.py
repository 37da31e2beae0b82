"""Command lines as gflags reads them, for programs that stand in for programs of the reference."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Final, Literal

from sfs_core.errors import ConfigError

__all__ = ["Kind", "parse_flags"]

Kind = Literal["text", "bool", "int"]

_TRUE: Final = ("1", "t", "true", "y", "yes")
_FALSE: Final = ("0", "f", "false", "n", "no")
_DEEPEST: Final = 16
_OWN: Final[Mapping[str, Kind]] = {
    "flagfile": "text",
    "fromenv": "text",
    "tryfromenv": "text",
    "undefok": "text",
    "help": "bool",
    "version": "bool",
}


def parse_flags(arguments: Sequence[str], known: Mapping[str, Kind]) -> dict[str, str | bool | int]:
    """The flags given, by name; of one that is given twice the last.

    `--name=value`, `--name value`, `--flag`, `--noflag`, all with one dash as well; `--flagfile` reads further ones
    from files, a line each, with comments and further files; `--fromenv` takes flags from variables `FLAGS_name`;
    `--undefok` names flags that need not be known; `--` ends the flags.

    Args:
        arguments: without the program's name.
        known: kinds by name; `help` and `version` are known in any case.

    Raises:
        ConfigError: a flag is not known or has no such value, or a flag file cannot be read.
    """
    parser = _Parser({**_OWN, **known}, _undefined_allowed(arguments))
    parser.read(list(arguments), "the command line")
    return parser.flags


def _undefined_allowed(arguments: Sequence[str]) -> frozenset[str]:
    lists = [each.lstrip("-").partition("=")[2] for each in arguments if each.lstrip("-").startswith("undefok=")]
    return frozenset(name for each in lists for name in each.split(","))


class _Parser:
    def __init__(self, known: Mapping[str, Kind], undefined_allowed: frozenset[str]) -> None:
        self._known = known
        self._undefined_allowed = undefined_allowed
        self._depth = 0
        self.flags: dict[str, str | bool | int] = {}

    def read(self, arguments: list[str], where: str) -> None:
        """Take flags from a list of arguments, which is used up."""
        while arguments:
            argument = arguments.pop(0)
            if argument == "--":
                break
            if not argument.startswith("-") or argument == "-":
                raise ConfigError("only flags are expected, --name=value", where=where)
            self._flag(argument.removeprefix("-").removeprefix("-"), arguments, where)

    def _flag(self, text: str, rest: list[str], where: str) -> None:
        name, equals, value = text.partition("=")
        kind = self._known.get(name)
        positive = name.removeprefix("no")
        if kind is None and not equals and self._known.get(positive) == "bool":
            self.flags[positive] = False
        elif kind is None:
            if not {name, positive} & self._undefined_allowed:
                raise _unknown(name, self._known, where)
        elif kind == "bool":
            self.flags[name] = _bool(name, value, where) if equals else True
        elif equals or rest:
            self._value(name, kind, value if equals else rest.pop(0), where)
        else:
            raise ConfigError(f"flag --{name} needs a value", where=where)

    def _value(self, name: str, kind: Kind, value: str, where: str) -> None:
        if kind == "int":
            try:
                self.flags[name] = int(value, 0)
            except ValueError:
                raise ConfigError(f"flag --{name}: a whole number is expected", where=where) from None
        elif name == "flagfile":
            for path in filter(None, value.split(",")):
                self._file(Path(path), where)
        elif name in ("fromenv", "tryfromenv"):
            for each in filter(None, value.split(",")):
                self._from_environment(each, where, needed=name == "fromenv")
        elif name != "undefok":
            self.flags[name] = value

    def _from_environment(self, name: str, where: str, *, needed: bool) -> None:
        value = os.environ.get(f"FLAGS_{name}")
        if value is not None:
            self._flag(f"{name}={value}", [], where)
        elif needed:
            raise ConfigError(f"environment variable FLAGS_{name} is not set", where=where)

    def _file(self, path: Path, where: str) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ConfigError("flag files name each other without end", where=str(path))
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise ConfigError(f"flag file {path} cannot be read: {reason}", where=where) from None
        for number, line in enumerate(map(str.strip, lines), 1):
            if line and not line.startswith("#"):
                self.read([line], f"{path}:{number}")
        self._depth -= 1


def _bool(name: str, value: str, where: str) -> bool:
    word = value.lower()
    if word not in (*_TRUE, *_FALSE):
        raise ConfigError(f"flag --{name}: true or false is expected", where=where)
    return word in _TRUE


def _unknown(name: str, known: Mapping[str, Kind], where: str) -> ConfigError:
    nearest = get_close_matches(name, known, 1)
    hint = f"did you mean --{nearest[0]}?" if nearest else "--help lists the flags"
    return ConfigError(f"there is no flag --{name}", where=where, hint=hint)
