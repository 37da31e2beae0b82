"""Refusing a call, over every protocol in its own words."""

from __future__ import annotations

from sfs_core.link.rpc import RpcCode

__all__ = ["RefusalError"]


class RefusalError(Exception):
    """Raised by a handler: the caller may not ask this, or not now.

    Args:
        code: `AUTHENTICATION`, `PERMISSION`, `QUOTA` or `LIMIT`.
        text: why, for the caller.
        retry_after: seconds after which it may be tried again, where that is known.
        reason: what metrics call it; by default the code's name.
    """

    def __init__(self, code: RpcCode, text: str, retry_after: float | None = None, *, reason: str = "") -> None:
        super().__init__(text)
        self.reason = reason or code.name.lower()
        self.code = code
        self.text = text
        self.retry_after = retry_after
