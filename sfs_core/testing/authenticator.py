"""The contract of authenticators."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import ClassVar, Final

import pytest

from sfs_core.host.registry import Kind
from sfs_core.sdk.authenticator import AuthenticationError, Authenticator, AuthenticatorContext, Caller, Credentials
from sfs_core.testing.contract import installed
from sfs_core.testing.making import PARTY
from sfs_core.testing.source import OptionsCase, OptionsContract
from sfs_core.testing.watching import Connections, voluntary_waits

__all__ = ["AuthenticatorCase", "AuthenticatorContract"]

_STRANGE: Final = ["", " ", "Bearer", "Bearer ", "Basic Og==", "\0", "\udce4", "é", "." * 9, "x" * 100_000]
_SHORTEST_TOLD: Final = 4


@dataclass(frozen=True, kw_only=True)
class AuthenticatorCase(OptionsCase):
    """An authenticator, and whom it should know.

    Args:
        good: credentials of a caller.
        caller: that caller.
        wrong: credentials of its kind that are not good; empty where it leaves all that it does not know to others.
    """

    good: Credentials
    caller: Caller
    wrong: Sequence[Credentials] = ()


class AuthenticatorContract(OptionsContract):
    """Rules that every authenticator keeps; a subclass defines the fixture `case`, an `AuthenticatorCase`."""

    contract_kind: ClassVar[Kind] = "authenticator"
    contract_title: ClassVar[str] = "authenticator"

    def make(self, case: AuthenticatorCase) -> Authenticator:
        """The case's authenticator, not opened yet."""
        cls = installed().authenticator(case.component)
        context = AuthenticatorContext(PARTY, logging.getLogger(f"sfs.test.{PARTY}"), case.base_directory)
        return cls(self.config(case), context)

    @contextmanager
    def opened(self, case: AuthenticatorCase) -> Iterator[Authenticator]:
        """The case's authenticator, opened and closed as a server does it."""
        authenticator = self.make(case)
        try:
            authenticator.open()
            yield authenticator
        finally:
            authenticator.close()

    # ------------------------------------------------------------------------------------------------ rules
    def test_good_credentials_name_the_caller(self, case: AuthenticatorCase) -> None:
        """The first time and again."""
        with self.opened(case) as authenticator:
            assert [authenticator.authenticate(case.good) for _ in range(2)] == [case.caller] * 2

    def test_no_credentials_are_left_to_others(self, case: AuthenticatorCase) -> None:
        """Without credentials of its kind it answers None, so that the next authenticator is tried."""
        with self.opened(case) as authenticator:
            assert authenticator.authenticate(Credentials({})) is None
            assert authenticator.authenticate(Credentials({"content-type": "application/json"})) is None

    def test_wrong_credentials_are_refused(self, case: AuthenticatorCase) -> None:
        """With an AuthenticationError; None would let an anonymous caller through where those are welcome."""
        with self.opened(case) as authenticator:
            for wrong in case.wrong:
                with pytest.raises(AuthenticationError):
                    authenticator.authenticate(wrong)

    def test_strange_credentials_break_nothing(self, case: AuthenticatorCase) -> None:
        """Whatever stands in the headers, nobody gets in and nothing else is raised."""
        with self.opened(case) as authenticator:
            for name in {"authorization", *case.good.headers}:
                for strange in _STRANGE:
                    with suppress(AuthenticationError):
                        assert authenticator.authenticate(Credentials({name: strange})) is None

    def test_refusals_tell_nothing_of_the_credentials(self, case: AuthenticatorCase) -> None:
        """What is refused goes into answers and logs."""
        with self.opened(case) as authenticator:
            for wrong in case.wrong:
                error = _refusal(authenticator, wrong)
                shown = [word for value in wrong.headers.values() for word in value.split()[-1:]]
                told = [word for word in shown if len(word) >= _SHORTEST_TOLD and word in str(error)]
                assert not told, "the error quotes the credentials"

    def test_it_touches_memory_only(self, case: AuthenticatorCase) -> None:
        """It is asked on the event loop, for every request: it waits for nothing and reaches out to nobody."""
        with self.opened(case) as authenticator:
            with Connections() as connections:
                waits = voluntary_waits(lambda: authenticator.authenticate(case.good))
            assert not waits, f"authenticate waits {waits} time(s) or more"
            assert not connections.seen, "authenticate reaches out to others"

    def test_it_may_be_closed_twice_and_unopened(self, case: AuthenticatorCase) -> None:
        """As happens when another part of the server cannot start."""
        authenticator = self.make(case)
        authenticator.close()
        authenticator.close()


def _refusal(authenticator: Authenticator, credentials: Credentials) -> AuthenticationError | None:
    try:
        authenticator.authenticate(credentials)
    except AuthenticationError as error:
        return error
    return None
