"""The rules that kinds of components share: their options, and for sources what leaves the process."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import SecretBytes, SecretStr, ValidationError

from sfs_core.errors import SfsError
from sfs_core.sdk.context import PluginConfig, types_in
from sfs_core.sdk.specs import FeatureSourceSpec, ModelSourceSpec
from sfs_core.testing.contract import Contract, installed, on_event_loop
from sfs_core.testing.watching import Connections

__all__ = ["OptionsCase", "OptionsContract", "SourceCase", "SourceContract", "assert_is_ours"]

_MARK: Final = "contract-secret-4711"
_SECRET_NAMES: Final = re.compile(r"(^|_)(password|passwd|passphrase|secret|token|api_?key|credentials?)($|_)")


@dataclass(frozen=True, kw_only=True)
class OptionsCase:
    """What cases of all components with options say.

    Args:
        component: its name in configs.
        options: the options of its config.
        base_directory: what relative paths in the options are relative to.
        secrets: what the options hold that nobody may see.
    """

    component: str
    options: Mapping[str, Any] = field(default_factory=dict)
    base_directory: Path = Path()
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SourceCase(OptionsCase):
    """What cases of both kinds of sources say besides.

    Args:
        options_at: for a source that asks a service: the options, other than `options`, to ask one at a host and port.
            Its timeouts should be short.
        patience: seconds within which the source must give up on a service that does not answer.
    """

    options_at: Callable[[str, int], Mapping[str, Any]] | None = None
    patience: float = 10.0

    @property
    def asks_service(self) -> bool:
        """Whether the source asks a service."""
        return self.options_at is not None

    def options_of_service(self, address: tuple[str, int]) -> dict[str, Any]:
        """The options to ask a service at an address; skips the rule where the source asks none."""
        if self.options_at is None:
            pytest.skip("the case has no `options_at`: the source asks no service")
        return {**self.options, **self.options_at(*address)}


def assert_is_ours(error: BaseException) -> SfsError:
    """The error, which must be an SfsError that says something."""
    assert isinstance(error, SfsError), f"{type(error).__name__} came out; raise an SfsError, with a code and a message"
    assert error.message, "the error says nothing"
    return error


class OptionsContract(Contract):
    """Rules for components with options."""

    def config(self, case: OptionsCase, options: Mapping[str, Any] | None = None) -> PluginConfig:
        """The config of the case's options, or of others."""
        cls: type[PluginConfig] = getattr(installed(), self.contract_kind)(case.component).Config
        return cls(**(case.options if options is None else options))

    # ------------------------------------------------------------------------------------------------ rules
    def test_unknown_options_are_refused(self, case: OptionsCase) -> None:
        """A misspelt option is an error, not ignored."""
        self.config(case)
        with pytest.raises(ValidationError):
            self.config(case, {**case.options, "no_such_option": 1})

    def test_secrets_are_hidden(self, case: OptionsCase) -> None:
        """Options for secrets have a type that shows nowhere, and the case's secrets do not show."""
        config = self.config(case)
        for name, option in type(config).model_fields.items():
            types = set(types_in(option.annotation))
            plain = types & {str, bytes} and not types & {SecretStr, SecretBytes}
            assert not (plain and _SECRET_NAMES.search(name)), f"option {name!r} holds a secret: make it a SecretStr"
        for text in (repr(config), str(config), config.model_dump_json()):
            assert not _shown(case.secrets, text), "a secret shows in the config's text; use SecretStr"

    def test_wrong_options_are_not_quoted(self, case: OptionsCase) -> None:
        """What is wrong with an option is said without its value, which may be a secret in the wrong place."""
        for name in type(self.config(case)).model_fields:
            try:
                self.config(case, {**case.options, name: {"wrong": [_MARK]}})
            except ValidationError as error:
                assert not _shown([_MARK], str(error)), f"the error about a wrong {name!r} quotes it"


class SourceContract(OptionsContract):
    """Rules for feature sources and model sources."""

    async def use(self, case: Any, folder: Path) -> None:
        """Use the source once, from its making to its end; `folder` is there to write to."""
        raise NotImplementedError

    @on_event_loop
    async def test_what_leaves_the_process_is_declared(self, case: SourceCase, tmp_path: Path) -> None:
        """A source with `egress="none"` reaches out to nobody."""
        spec = installed().spec(self.contract_kind, case.component)
        assert isinstance(spec, FeatureSourceSpec | ModelSourceSpec)
        if spec.egress != "none":
            pytest.skip(f"it declares that {spec.egress} leave")
        if isinstance(spec, ModelSourceSpec) and case.asks_service:
            pytest.skip("it asks a service for packages, and knows no ids and no features")
        with Connections() as connections:
            await self.use(case, tmp_path)
        assert not connections.seen, f'egress is "none", but it calls {", ".join(sorted(set(connections.seen)))}'


def _shown(secrets: Iterable[str], text: str) -> bool:
    return any(secret in text for secret in secrets)
