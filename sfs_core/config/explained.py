"""What pydantic finds wrong in a config, in our words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticCustomError

from sfs_core.config.problems import Place
from sfs_core.sdk.context import types_in

__all__ = ["explained", "model_at", "nearest", "place_of", "wrong_at"]


def wrong_at(place: Place, message: str) -> PydanticCustomError:
    """What a validator raises that looks at several options of the whole config: only one of them is wrong.

    Args:
        place: that option's, from the root.
        message: never quotes a secret.
    """
    return PydanticCustomError("wrong_at", "{message}", {"message": message, "place": place})


def place_of(error: Any) -> Place:
    """Where an error is, from the root of what was validated."""
    if error["type"] == "wrong_at":
        place: Place = error["ctx"]["place"]
        return place
    return tuple(step for step in error["loc"] if step != "[key]")


def explained(error: Any) -> tuple[str, str]:
    """Message and hint about one error; never quotes a value of the file."""
    kind: str = error["type"]
    if kind == "missing":
        return "is missing", ""
    if kind in ("value_error", "assertion_error"):
        return str(error["ctx"]["error"]), ""
    if kind == "string_type":
        return "a text is expected", "put it in quotes"
    if kind == "string_pattern_mismatch":
        return f"a text of the form {error['ctx']['pattern']} is expected", ""
    if kind == "too_short":
        return f"at least {error['ctx']['min_length']} are expected", ""
    said, is_expected, expected = error["msg"].partition("Input should be ")
    if not is_expected:
        return said, ""
    expected = re.split(", unable to parse|, got ", expected)[0]
    expected = expected.replace("valid integer", "whole number").replace("valid ", "")
    return f"{'a value ' if expected.startswith(('less ', 'greater ')) else ''}{expected} is expected", ""


def model_at(model: type[BaseModel], path: Place) -> type[BaseModel]:
    """The model that an option's name is to be looked up in."""
    for step in path:
        info = model.model_fields.get(step) if isinstance(step, str) else None
        if info:
            model = next((each for each in types_in(info.annotation) if issubclass(each, BaseModel)), model)
    return model


def nearest(name: str, known: Sequence[str], given: Sequence[Any]) -> str:
    """A hint at which option could be meant by one that there is not.

    Args:
        name: of the one that there is not.
        known: those that there are.
        given: blocks of the file; what is in one is not meant.
    """
    left = [each for each in known if not any(isinstance(block, dict) and each in block for block in given)]
    found = get_close_matches(name, left, 1)
    return f"did you mean {found[0]!r}?" if found else f"known: {', '.join(known) or 'none'}"
