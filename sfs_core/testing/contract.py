"""What the contracts of all kinds of components share: finding the component, and rules about its declaration."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
from collections.abc import Callable, Coroutine
from importlib.metadata import entry_points
from typing import Any, ClassVar, Protocol

import pytest

from sfs_core.host.registry import Kind, Registry
from sfs_core.sdk.hookspecs import ENTRY_POINT_GROUP

__all__ = ["Case", "Contract", "installed", "on_event_loop"]

# What a declaration module may bring along: what it needs of core, and itself.
_LIGHT_PROGRAM = """
import sys
from sfs_core import AuthenticatorSpec, CommandSpec, FeatureSourceSpec, ModelSourceSpec, OperatorSpec, hookimpl
light = set(sys.modules)
module = __import__(sys.argv[1], fromlist=["*"])
for name in ("sfs_feature_sources", "sfs_model_sources", "sfs_operators", "sfs_authenticators", "sfs_commands"):
    list(getattr(module, name, list)())
own = sys.argv[1].partition(".")[0]
heavy = {name.partition(".")[0] for name in set(sys.modules) - light}
print(*sorted(heavy - set(sys.stdlib_module_names) - {own, "sfs_core"}))
"""


class Case(Protocol):
    """What an author's fixture `case` returns."""

    @property
    def component(self) -> str:
        """The name of the component."""


@functools.cache
def installed() -> Registry:
    """The registry that a server on this machine would use."""
    return Registry.discover()


def on_event_loop(rule: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A coroutine function as a test that needs no plugin of pytest's; it runs on an event loop of its own."""

    @functools.wraps(rule)
    def test(*arguments: Any, **keywords: Any) -> None:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            runner.run(rule(*arguments, **keywords))

    return test


class Contract:
    """Base of the contracts; every method `test_…` is a rule."""

    contract_kind: ClassVar[Kind]
    contract_title: ClassVar[str] = ""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "test_no_rule_is_overridden" in vars(cls):
            raise TypeError(f"{cls.__name__} overrides the rule that no rule is overridden")

    @pytest.fixture
    def case(self) -> Case:
        """What is judged: the one thing that an author writes."""
        pytest.fail(f"{type(self).__name__} needs a fixture `case`", pytrace=False)

    @pytest.fixture(autouse=True)
    def _named_in_reports(self, request: pytest.FixtureRequest, case: Case) -> None:
        request.node.user_properties.append(("sfs_component", case.component))

    # ------------------------------------------------------------------------------------------------ rules
    def test_no_rule_is_overridden(self) -> None:
        """An exception to a rule is marked `xfail` and has a reason, for everybody to read."""
        cls = type(self)
        rules = {
            name: rule
            for owner in reversed(cls.__mro__)
            if owner.__module__.startswith("sfs_core.testing.")
            for name, rule in vars(owner).items()
            if name.startswith("test_")
        }
        for name, rule in rules.items():
            found = getattr(cls, name, None)
            marks = [mark for mark in getattr(found, "pytestmark", ()) if mark.name == "xfail"]
            assert found is rule or any(mark.kwargs.get("reason") for mark in marks), (
                f"{name} is overridden; if the component cannot keep the rule, override it with "
                f"@pytest.mark.xfail(reason=…) and a call of super().{name}"
            )

    def test_a_server_finds_it(self, case: Case) -> None:
        """An installed distribution declares the component, for this plugin API, and its class can be used."""
        installed().spec(self.contract_kind, case.component)
        getattr(installed(), self.contract_kind)(case.component)

    def test_its_declaration_is_light(self, case: Case) -> None:
        """The declaration module, which every start of a server imports, brings no library along."""
        plugin = installed().provider(self.contract_kind, case.component)
        (entry_point, *_) = entry_points(group=ENTRY_POINT_GROUP, name=plugin.id)
        heavy = _heavy_imports(entry_point.module)
        assert not heavy, f"importing {entry_point.module} imports {heavy}; do that in the factory's module"


@functools.cache
def _heavy_imports(module: str) -> str:
    command = [sys.executable, "-c", _LIGHT_PROGRAM, module]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a plugin's own module
    assert done.returncode == 0, f"{module} cannot be imported in a process of its own:\n{done.stderr}"
    return done.stdout.strip()
