"""Config files as trees that remember lines: YAML or JSON, with values from the environment and from files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from sfs_core.config.problems import Place, Problems, path_text
from sfs_core.errors import ConfigError, ErrorCode

__all__ = ["Node", "plain", "read_document", "read_embedded", "read_text", "text_of"]

_MOST_BYTES: Final = 1 << 20
_MOST_VALUES: Final = 100_000
_MOST_LEVELS: Final = 64
_PLACEHOLDER: Final = re.compile(r"\$(\$)?\{(?:(env|file):)?([^{}]*)(?:\}|\Z)")
_SURROGATES: Final = re.compile(r"(\\\\)|\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
# Raw characters that JSON texts may hold and YAML's may not, or only as line breaks. Tabs only separate in JSON.
_JSON_ONLY: Final = {
    ord("\t"): " ",
    **{code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029, 0xFEFF, 0xFFFE, 0xFFFF)},
}
_QUOTED: Final = re.compile(r"'[^' ]{4,}'")  # a piece of the document in the words of PyYAML without libyaml
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TEXT_TAGS: Final = ("!", "tag:yaml.org,2002:str")

# What a text without quotes stands for: YAML 1.2's core schema, which is JSON's too. PyYAML's own is YAML 1.1's,
# in which `no` is false, 12:30:45 is a number, 010 is eight, 1e3 is a text, and 2024-01-31 is a date.
_WORDS: Final = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **{sign + word: float(sign + "inf") for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")},
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_DECIMAL: Final = re.compile(r"[-+]?[0-9]+")
_OCTAL_OR_HEXADECIMAL: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FRACTION: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


@dataclass(slots=True)
class Node:
    """A value and where it stands.

    Args:
        value: a scalar, a dict of nodes or a list of nodes.
        line: in the file, from 1.
        written: the option's name as the file has it, where a tree was converted from another format.
        template: the text before placeholders in it were replaced.
    """

    value: Any
    line: int
    written: str = ""
    template: str | None = None

    def at(self, path: Sequence[str | int]) -> Node:
        """The node at a path, or the deepest one on the way there."""
        node = self
        for step in path:
            try:
                node = node.value[step]
            except (KeyError, IndexError, TypeError):
                break
        return node


def plain(node: Node) -> Any:
    """The tree without lines."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def read_document(path: Path, problems: Problems) -> Node:
    """Read a config file; JSON is read as the YAML that it nearly is, with trailing commas and tabs.

    `${env:NAME}` and `${file:PATH}` inside texts are replaced (`$${` stands for `${`). Options given twice,
    values that cannot be read and placeholders that cannot be filled are noted in `problems`.

    Raises:
        ConfigError: it cannot be read or parsed at all; never quotes the document.
    """
    return read_text(path, text_of(path), problems)


def read_text(path: Path, text: str, problems: Problems) -> Node:
    """As `read_document`, of a text that is read already."""
    tree = _parsed(path, text, problems)
    if not isinstance(tree.value, dict):
        raise ConfigError("options are expected at its top level", where=f"{path}:{tree.line}")
    return tree


def read_embedded(node: Node, where: str, path: Path, problems: Problems) -> Node:
    """The tree of a document that is written as a text inside another, all in the line of that text.

    Placeholders are filled inside the inner document, where what they stand for cannot break it up.

    Args:
        node: the text.
        where: its place.
        path: the file that it is in.
        problems: told where it cannot be read, or holds no object; there is an empty object then.
    """
    text = node.template if node.template is not None else node.value
    if not isinstance(text, str):
        problems.add(node.line, where, "a text that holds JSON is expected")
        return Node({}, node.line)
    try:
        tree = _parsed(path, text, problems, node.line, (where,))
    except ConfigError as error:
        inner = error.where.rpartition(":")[2]
        problems.add(node.line, where, error.message, f"look at line {inner} of this text" * inner.isdigit())
        return Node({}, node.line)
    if not isinstance(tree.value, dict):
        problems.add(node.line, where, "a text that holds a JSON object is expected")
        return Node({}, node.line)
    return tree


def _parsed(path: Path, text: str, problems: Problems, line: int | None = None, place: Place = ()) -> Node:
    if text.lstrip().startswith("{"):
        text = _SURROGATES.sub(_character, text.translate(_JSON_ONLY))
    try:
        return _Reader(path, text, problems, line, place).document()
    except yaml.YAMLError as error:
        raise _unparsable(path, error, text) from None


def text_of(path: Path) -> str:
    """A config file's text.

    Raises:
        ConfigError: it cannot be read, is no text, or too long for a config.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ConfigError("it is too large for a config", where=str(path))
        return content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(
            f"it cannot be read: {error.strerror or type(error).__name__}", code=ErrorCode.IO_ERROR, where=str(path)
        ) from None
    except UnicodeDecodeError:
        raise ConfigError("it is not UTF-8 text", where=str(path)) from None


def _character(match: re.Match[str]) -> str:
    r"""A character beyond U+FFFF, which JSON writes as two \u escapes and YAML as one \U."""
    backslash, high, low = match.groups()
    if backslash:
        return match[0]
    return f"\\U{0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00:08x}"


def _unparsable(path: Path, error: yaml.YAMLError, text: str) -> ConfigError:
    mark: Any = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or type(error).__name__
    where = f"{path}:{mark.line + 1}" if mark else str(path)
    lines = text.splitlines()[max(mark.line - 1, 0) : mark.line + 1] if mark else []
    return ConfigError(
        f"it is neither YAML nor JSON: {_QUOTED.sub('…', str(problem))}",
        code=ErrorCode.DESERIALIZE_FAILED,
        where=where,
        hint=_advice(lines),
    )


def _advice(lines: Sequence[str]) -> str:
    """What is often wrong where a line cannot be parsed; `lines` are that and the one before."""
    if any("\t" in line[: len(line) - len(line.lstrip())] for line in lines):
        return "indent with spaces: YAML takes no tabs there"
    if any("\u00a0" in line for line in lines):
        return "a no-break space stands here or in the line before, which looks like a space and is none"
    if any("${" in line for line in lines[-1:]):
        return "inside {} and [], placeholders need quotes: '${env:NAME}'"
    return "options of one block begin in the same column; a text with ': ' or ' #' in it needs quotes"


class _Reader:
    """Makes nodes of YAML's events. (PyYAML's own trees crash the process on deep nesting.)"""

    def __init__(self, path: Path, text: str, problems: Problems, line: int | None, place: Place) -> None:
        """All nodes are in the line given, if one is, and below `place`."""
        self._path = path
        self._fixed_line = line
        self._place = place
        self._events: Iterator[Any] = yaml.parse(text, _LOADER)
        self._problems = problems
        self._values = 0
        self._anchors: dict[str, tuple[Node, int]] = {}

    def document(self) -> Node:
        next(self._events)  # the stream's start
        if isinstance(next(self._events), yaml.StreamEndEvent):
            raise ConfigError("it is empty", where=str(self._path))
        tree = self._node(self._next(), self._place)
        next(self._events)  # the document's end
        if not isinstance(more := next(self._events), yaml.StreamEndEvent):
            raise self._refused(more, "a second document begins here; one is expected")
        return tree

    def _next(self) -> Any:
        return next(self._events)

    def _line(self, event: Any) -> int:
        return self._fixed_line or _line(event)

    def _refused(self, event: Any, message: str, hint: str = "") -> ConfigError:
        return ConfigError(message, where=f"{self._path}:{_line(event)}", hint=hint)

    def _node(self, event: Any, place: Place) -> Node:
        before = self._values
        self._count(event, 1)
        if len(place) > _MOST_LEVELS:
            raise self._refused(event, "it is nested too deeply")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        line = self._line(event)
        if isinstance(event, yaml.MappingStartEvent):
            node = Node(self._options(place), line)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = Node(self._items(place), line)
        else:
            node = self._scalar(event, line, place)
        if event.anchor:
            self._anchors[event.anchor] = (node, self._values - before)
        return node

    def _count(self, event: Any, values: int) -> None:
        self._values += values
        if self._values > _MOST_VALUES:  # aliases that refer to aliases multiply
            raise self._refused(event, "it has too many values for a config")

    def _alias(self, event: Any) -> Node:
        if event.anchor not in self._anchors:  # nor is it while the anchor's own value is read
            raise self._refused(
                event, "a value that begins with * repeats one marked with &, and there is none", "put it in quotes"
            )
        node, values = self._anchors[event.anchor]
        self._count(event, values)
        return node

    def _options(self, place: Place) -> dict[str, Node]:
        options: dict[str, Node] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise self._refused(event, "an option's name must be a plain text")
            key, line = event.value, self._line(event)
            value = self._node(self._next(), (*place, key))
            value = Node(value.value, line, template=value.template)  # where its name is, also when it is an alias
            if key in options:
                first = options[key].line
                self._problems.add(line, path_text((*place, key)), f"is given twice, first in line {first}")
            else:
                options[key] = value
        return options

    def _items(self, place: Place) -> list[Node]:
        items: list[Node] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._node(event, (*place, len(items))))
        return items

    def _scalar(self, event: Any, line: int, place: Place) -> Node:
        text: str = event.value
        where = path_text(place)
        if event.tag not in (None, *_TEXT_TAGS):
            self._problems.add(line, where, "a value that begins with ! is not read", "put it in quotes")
        elif "\0" in text:
            self._problems.add(line, where, "a text holds the character NUL")
            text = ""
        elif event.tag is None and event.implicit[0]:
            try:
                value = _meaning(text)
            except ValueError:
                self._problems.add(line, where, "the number is too long")
                return Node(0, line)
            if not isinstance(value, str):
                return Node(value, line)
        filled = _PLACEHOLDER.sub(lambda match: self._filled(match, line, where), text)
        return Node(filled, line, template=text if filled != text else None)

    def _filled(self, match: re.Match[str], line: int, where: str) -> str:
        escaped, kind, name = match.groups()
        if escaped:
            return match[0][1:]
        if not match[0].endswith("}"):
            kind = None
        try:
            value = _variable(name) if kind == "env" else self._content(name) if kind == "file" else None
        except ValueError as error:
            self._problems.add(line, where, str(error))
            return ""
        if value is None:
            self._problems.add(
                line,
                where,
                "a placeholder is expected to be ${env:NAME} or ${file:PATH}",
                "write $${ where ${ itself is meant",
            )
            return ""
        self._problems.hide(value, match[0])
        return value

    def _content(self, name: str) -> str:
        try:
            with (self._path.parent / Path(name).expanduser()).open("rb") as file:
                text = file.read(_MOST_BYTES).decode().rstrip("\r\n")
        except (OSError, ValueError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise ValueError(f"file {name!r} cannot be read: {reason}") from None
        return _without_nul(text)


def _meaning(text: str) -> Any:
    """What a text without quotes stands for."""
    if text in _WORDS:
        return _WORDS[text]
    if _DECIMAL.fullmatch(text):
        return int(text)
    if _OCTAL_OR_HEXADECIMAL.fullmatch(text):
        return int(text, 0)
    return float(text) if _FRACTION.fullmatch(text) else text


def _line(event: Any) -> int:
    line: int = event.start_mark.line
    return line + 1


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise ValueError(f"environment variable {name!r} is not set")
    return value


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("its file holds the character NUL")
    return text
