"""Which distribution offers which component: the source of `pip install …` hints.

Generated from the declarations of the workspace's plugins by tests/host/generate_known_plugins.py; a test compares.
"""

from __future__ import annotations

from typing import Final

__all__ = ["KNOWN_PLUGINS"]

KNOWN_PLUGINS: Final[dict[tuple[str, str], str]] = {}
