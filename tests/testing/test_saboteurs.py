"""The contracts themselves: honest components keep all rules, a saboteur breaks exactly its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sfs_core.testing import FeatureSourceContract
from sfs_core.testing.source import OptionsContract, SourceContract

NOBODY = """
class TestNobody(FeatureSourceContract):
    @pytest.fixture
    def case(self):
        return FeatureSourceCase(component="Nobody", schema=Schema(), rows={})
"""

_BASES = {"Base", "Packed"}
SABOTEURS = Path(__file__).parent / "saboteurs"

DECLARATION = """
from sfs_core import {spec}, hookimpl
SFS_API = ">=1,<2"

@hookimpl
def {hook}():
    return [{spec}(name, "saboteurs.{module}:" + name, "a saboteur") for name in {names}]
"""

# So that dozens of components are judged in seconds.
SMALLER = """
from sfs_core.testing import model_source, watching
model_source._LIMIT = model_source._SLACK = 1 << 16
watching._SETTLING_SECONDS = 0.3
"""

FEATURE_TESTS = """
import pyarrow as pa
import pytest
from saboteurs import feature_sources
from sfs_core import Schema
from sfs_core.testing import FeatureSourceCase, FeatureSourceContract

def at(host, port):
    return {"port": port}

def judged(name):
    class Judged(FeatureSourceContract):
        @pytest.fixture
        def case(self):
            return FeatureSourceCase(
                component=name,
                schema=Schema([("x", pa.float64()), ("text", pa.utf8())]),
                rows=feature_sources.ROWS,
                options_at=at if issubclass(getattr(feature_sources, name), feature_sources.HonestService) else None,
                patience=0.8,
            )
    return Judged
"""

MODEL_TESTS = """
import pytest
from sfs_core.testing import ModelSourceCase, ModelSourceContract

def judged(name):
    class Judged(ModelSourceContract):
        @pytest.fixture
        def content(self):
            return bytes(range(256)) * 1200

        @pytest.fixture
        def case(self, tmp_path, content):
            (tmp_path / "package").write_bytes(content)
            (tmp_path / "cut").hardlink_to(tmp_path / "package")
            return ModelSourceCase(
                component=name,
                path="package",
                missing="nothing",
                truncated="cut",
                base_directory=tmp_path,
                options_at=lambda host, port: {"port": port},
                patience=0.8,
            )
    return Judged
"""

OPERATOR_TESTS = """
import pytest
from saboteurs import operators
from sfs_core.testing import OperatorCase, OperatorContract, PackedTable

def judged(name):
    merges = getattr(operators, name).definition.mergeable
    table = [(1.5,), (0.25,)]
    packs = issubclass(getattr(operators, name), operators.Packed)
    own = PackedTable(rows=table, pack=operators.pack) if packs else table

    class Judged(OperatorContract):
        @pytest.fixture
        def case(self):
            return OperatorCase(
                component=name,
                attributes={"factor": 2.0},
                inputs=[[table] * 3] if merges else [own],
                expected=[(9.0,), (1.5,)] if merges else [(3.0,), (0.5,)],
                parents=("parent",) if merges else (),
                takes_no_rows=not packs,
                unpack=operators.unpack if packs else None,
            )
    return Judged
"""

AUTHENTICATOR_TESTS = """
import pytest
from sfs_core import Caller, Credentials
from sfs_core.testing import AuthenticatorCase, AuthenticatorContract

def judged(name):
    class Judged(AuthenticatorContract):
        @pytest.fixture
        def case(self):
            return AuthenticatorCase(
                component=name,
                good=Credentials({"x-word": "sesame"}),
                caller=Caller("shop"),
                wrong=[Credentials({"x-word": "barley"})],
            )
    return Judged
"""


def names_in(module: str) -> dict[str, set[str]]:
    """The components of a file of saboteurs, and the rules that each breaks."""
    sys.path.insert(0, str(SABOTEURS.parent))
    try:
        found = __import__(f"saboteurs.{module}", fromlist=["*"])
        classes = {
            n: c for n, c in vars(found).items() if isinstance(c, type) and hasattr(c, "breaks") and n not in _BASES
        }
        return {name: {f"test_{rule}" for rule in cls.breaks.split()} for name, cls in classes.items()}
    finally:
        sys.path.remove(str(SABOTEURS.parent))
        for name in [name for name in sys.modules if name.partition(".")[0] == "saboteurs"]:
            del sys.modules[name]


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """pytest with the kit's plugin only: others take seconds to start."""
    others = {each.name for each in entry_points(group="pytest11")} - {"sfs", "timeout"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--tb=short",
        *(f"-pno:{name}" for name in sorted(others | {"cacheprovider"})),
        "--timeout=120",  # a rule that hangs says where
        *arguments,
    ]
    (folder / "pytest.ini").write_text("[pytest]\n")
    # In CI, pytest writes out how things differ, however long that takes: rules must not have it do so.
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "CI": "true"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def install(folder: Path, module: str, hook: str, spec: str, names: list[str]) -> None:
    """Saboteurs as an installed distribution."""
    shutil.copytree(SABOTEURS, folder / "saboteurs", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "saboteurs" / "__init__.py").write_text(
        DECLARATION.format(spec=spec, hook=hook, module=module, names=names)
    )
    (folder / "conftest.py").write_text(SMALLER)
    metadata = folder / "saboteurs-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: saboteurs\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[sfs_core.plugins]\nsaboteurs = saboteurs\n")


@pytest.mark.parametrize(
    ("module", "hook", "spec", "tests"),
    [
        ("feature_sources", "sfs_feature_sources", "FeatureSourceSpec", FEATURE_TESTS),
        ("model_sources", "sfs_model_sources", "ModelSourceSpec", MODEL_TESTS),
        ("operators", "sfs_operators", "OperatorSpec", OPERATOR_TESTS),
        ("authenticators", "sfs_authenticators", "AuthenticatorSpec", AUTHENTICATOR_TESTS),
    ],
)
def test_each_saboteur_breaks_its_rule_and_no_other(
    tmp_path: Path, module: str, hook: str, spec: str, tests: str
) -> None:
    expected = names_in(module)
    install(tmp_path, module, hook, spec, sorted(expected))
    classes = [f"Test{name} = judged({name!r})" for name in expected]
    naming = [f"Test{name}.__name__ = Test{name}.__qualname__ = 'Test{name}'" for name in expected]
    (tmp_path / "test_all.py").write_text("\n".join([tests, *classes, *naming]))
    done = run_pytest(tmp_path, "--junitxml=report.xml", "--sfs-report", "test_all.py")
    broken: dict[str, set[str]] = {name: set() for name in expected}
    ran = set()
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    for case in ElementTree.parse(tmp_path / "report.xml").iter("testcase"):
        assert "name" in case.attrib, f"a rule has no outcome\n{done.stdout}{done.stderr}"
        ran.add(case.attrib["name"])
        if case.find("failure") is not None or case.find("error") is not None:
            broken[case.attrib["classname"].rpartition(".Test")[2]].add(case.attrib["name"])
    assert broken == expected, done.stdout
    shared = {rule for cls in SourceContract.__mro__ for rule in vars(cls)}
    unproven = {rule for rule in ran - set().union(*expected.values()) if rule not in shared}
    assert module != "feature_sources" or (vars(SourceContract) | vars(OptionsContract)).keys() & ran <= set().union(
        *expected.values()
    )
    assert unproven <= {"test_the_output_is_as_expected"}, "a rule without a saboteur"
    assert "contract of" in done.stdout
    assert any(line.startswith("a server finds it ") for line in done.stdout.splitlines())


def test_a_heavy_or_hidden_declaration_breaks_its_rule(tmp_path: Path) -> None:
    install(tmp_path, "feature_sources", "sfs_feature_sources", "FeatureSourceSpec", ["Honest"])
    with (tmp_path / "saboteurs" / "__init__.py").open("a") as file:
        file.write("\nimport numpy\n")
    lines = [FEATURE_TESTS, "class TestHonest(judged('Honest')): pass", NOBODY]
    (tmp_path / "test_all.py").write_text("\n".join(lines))
    done = run_pytest(tmp_path, "-k", "declaration_is_light and TestHonest or a_server_finds_it", "test_all.py").stdout
    assert "FAILED test_all.py::TestHonest::test_its_declaration_is_light" in done
    assert "importing saboteurs imports numpy" in done
    assert "FAILED test_all.py::TestNobody::test_a_server_finds_it" in done
    assert "no feature source named 'Nobody' is installed" in done
    assert "2 failed" in done


def test_an_overridden_rule_needs_a_reason(tmp_path: Path) -> None:
    install(tmp_path, "feature_sources", "sfs_feature_sources", "FeatureSourceSpec", ["Honest", "SortsIds"])
    (tmp_path / "test_all.py").write_text(
        FEATURE_TESTS
        + """
class TestSilenced(judged("SortsIds")):
    def test_rows_come_in_the_order_of_the_ids(self): pass

class TestRemoved(judged("SortsIds")):
    test_rows_come_in_the_order_of_the_ids = None

class TestExcused(judged("SortsIds")):
    @pytest.mark.xfail(strict=True, reason="the store sorts")
    def test_rows_come_in_the_order_of_the_ids(self, case):
        super().test_rows_come_in_the_order_of_the_ids(case)
"""
    )
    done = run_pytest(tmp_path, "--sfs-report", "-k", "overridden or in_the_order_of", "test_all.py").stdout
    assert "FAILED test_all.py::TestSilenced::test_no_rule_is_overridden" in done
    assert "FAILED test_all.py::TestRemoved::test_no_rule_is_overridden" in done
    assert "2 failed" in done
    assert "1 xfailed" in done


def test_the_rule_about_overriding_is_not_overridden() -> None:
    with pytest.raises(TypeError, match="overrides the rule that no rule is overridden"):
        type("TestX", (FeatureSourceContract,), {"test_no_rule_is_overridden": None})


def test_unused_it_imports_nothing_of_core(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import sys\ndef test_it():\n"
        "    loaded = {name for name in sys.modules if name.startswith('sfs_core.')}\n"
        "    assert loaded == {'sfs_core.testing', 'sfs_core.testing.plugin'}\n"
        "    assert not {'numpy', 'pyarrow', 'pydantic'} & set(sys.modules)\n"
    )
    done = run_pytest(tmp_path, "-W", "error", "test_it.py")
    assert done.returncode == 0, done.stdout
