"""Config files as trees that remember lines: YAML or JSON, with values from the environment and from files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from sfs_core.errors import ConfigError, ErrorCode

__all__ = ["Node", "Path_", "path_text", "plain", "read_document"]

_MOST_BYTES: Final = 4 << 20
_MOST_NODES: Final = 100_000
_PLACEHOLDER: Final = re.compile(r"\$(\$)?\{(?:(env|file):)?([^}]*)\}")
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Path_ = tuple[str | int, ...]
"""Where a value stands: keys and list positions from the root."""


@dataclass(slots=True)
class Node:
    """A value and its line: a scalar, a dict of nodes or a list of nodes."""

    value: Any
    line: int

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


def path_text(path: Sequence[str | int]) -> str:
    """A path as people write it: `services[0].model.source`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def read_document(path: Path) -> Node:
    """Read a config file; JSON is read as the YAML that it nearly is, with trailing commas and tabs.

    `${env:NAME}` and `${file:PATH}` inside texts are replaced (`$${` stands for `${`).

    Raises:
        ConfigError: it cannot be read or parsed, or a placeholder cannot be filled; never quotes the document.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigError("it is too large for a config", where=str(path))
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(
            f"it cannot be read: {error.strerror or type(error).__name__}", code=ErrorCode.IO_ERROR, where=str(path)
        ) from None
    except UnicodeDecodeError:
        raise ConfigError("it is not UTF-8 text", where=str(path)) from None
    if text.lstrip().startswith("{"):
        text = text.replace("\t", " ")  # JSON strings hold no raw tabs, and YAML allows none between tokens
    try:
        composed = yaml.compose(text, _LOADER)
    except yaml.YAMLError as error:
        raise _unparsable(path, error) from None
    except RecursionError:
        raise ConfigError("it is nested too deeply", where=str(path)) from None
    if composed is None:
        raise ConfigError("it is empty", where=str(path))
    tree = _Reader(path).read(composed)
    if not isinstance(tree.value, dict):
        raise ConfigError("options are expected at its top level", where=f"{path}:{tree.line}")
    return tree


def _unparsable(path: Path, error: yaml.YAMLError) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or type(error).__name__
    where = f"{path}:{mark.line + 1}" if mark else str(path)
    return ConfigError(f"it is neither YAML nor JSON: {problem}", code=ErrorCode.DESERIALIZE_FAILED, where=where)


class _Reader:
    """Makes nodes of what PyYAML composed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left = _MOST_NODES
        self._constructor = yaml.constructor.SafeConstructor()

    def read(self, node: yaml.Node) -> Node:
        self._left -= 1
        if self._left < 0:  # aliases that refer to aliases multiply
            raise ConfigError("it has too many values for a config", where=str(self._path))
        line = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            return Node(dict(self._entries(node)), line)
        if isinstance(node, yaml.SequenceNode):
            return Node([self.read(child) for child in node.value], line)
        try:
            value = self._constructor.construct_object(node)
        except (yaml.YAMLError, ValueError):
            raise ConfigError("the value cannot be read", where=f"{self._path}:{line}") from None
        return Node(self._filled(value, line) if isinstance(value, str) else value, line)

    def _entries(self, node: yaml.MappingNode) -> Iterator[tuple[str, Node]]:
        seen = set()
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value
            if not isinstance(key, str) or key_node.tag == "tag:yaml.org,2002:merge":
                raise ConfigError("an option's name must be a plain text", where=f"{self._path}:{line}")
            if key in seen:
                raise ConfigError(f"option {key!r} is given twice", where=f"{self._path}:{line}")
            seen.add(key)
            yield key, self.read(value_node)

    def _filled(self, text: str, line: int) -> str:
        def fill(match: re.Match[str]) -> str:
            escaped, kind, name = match.groups()
            if escaped:
                return match[0][1:]
            if kind == "env":
                return self._variable(name, line)
            if kind == "file":
                return self._content(name, line)
            raise ConfigError(
                "a placeholder is expected to be ${env:NAME} or ${file:PATH}",
                where=f"{self._path}:{line}",
                hint="write $${ where ${ itself is meant",
            )

        return _PLACEHOLDER.sub(fill, text)

    def _variable(self, name: str, line: int) -> str:
        if name not in os.environ:
            raise ConfigError(f"environment variable {name!r} is not set", where=f"{self._path}:{line}")
        return os.environ[name]

    def _content(self, name: str, line: int) -> str:
        file = self._path.parent / Path(name).expanduser()
        try:
            return file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise ConfigError(f"file {file} cannot be read: {reason}", where=f"{self._path}:{line}") from None
