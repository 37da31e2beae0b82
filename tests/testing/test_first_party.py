"""The plugins here are held to the contracts that everybody's are: each component, each rule."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

PLUGINS = sorted(Path(__file__).parents[2].glob("plugins/*/*/sfs_*/__init__.py"))
HOOKS = ("sfs_feature_sources", "sfs_model_sources", "sfs_operators", "sfs_authenticators")


@pytest.mark.parametrize("declaration", PLUGINS, ids=lambda path: path.parent.name)
def test_each_component_has_its_contract_test(declaration: Path) -> None:
    module = import_module(declaration.parent.name)
    names = {spec.name for hook in HOOKS for spec in getattr(module, hook, list)()}
    tests = (declaration.parents[1] / "tests" / "test_contract.py").read_text()
    judged = re.findall(r"^class Test\w+\(\w+Contract\):\n(?:(?!^class ).*\n)*", tests, re.MULTILINE)
    assert names
    assert all(any(f'"{name}"' in test for test in judged) for name in names)
    assert "xfail" not in tests
