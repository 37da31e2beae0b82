from __future__ import annotations

import sys

import pytest

from sfs_core import ErrorCode, PluginError, PredictionEvent
from sfs_core.host import known_plugins
from sfs_core.host.registry import Registry

DECLARATION = """
@hookimpl
def sfs_feature_sources():
    return [FeatureSourceSpec("acme", "{module}.source:AcmeSource", "features of the ACME store")]

@hookimpl
def sfs_model_sources():
    return [ModelSourceSpec("acme", "{module}.source:AcmeModels", "models of the ACME store")]

@hookimpl
def sfs_operators():
    return [OperatorSpec("ACME_OP", "{module}.source:AcmeOp", "an operator")]
"""
SOURCE = """
from sfs_core import FeatureSource, ModelSource, Operator

class AcmeSource(FeatureSource):
    def fetch_rows(self, query): ...

class AcmeModels(ModelSource):
    def download(self, path, to, progress): ...

class AcmeOp(Operator, name="ACME_OP", version="0.0.1", inputs=["x"], output="y"):
    def input_schemas(self): ...
    def output_schema(self): ...
    def compute(self, context, *inputs): ...
"""


@pytest.fixture
def acme(install):
    package = install("acme-features", DECLARATION.format(module="acme_features"))
    (package / "source.py").write_text(SOURCE)
    return package


@pytest.fixture
def known(monkeypatch):
    monkeypatch.setitem(known_plugins.KNOWN_PLUGINS, ("operator", "ACME_OP"), "acme-features")
    monkeypatch.setitem(known_plugins.KNOWN_PLUGINS, ("feature_source", "acme"), "acme-features")


def refusal(call, name: str) -> PluginError:
    with pytest.raises(PluginError) as caught:
        call(name)
    return caught.value


def test_classes_are_imported_when_asked_for_and_kept(acme):
    registry = Registry.discover(allow=["acme-features"])
    assert registry.provider("operator", "ACME_OP").provenance == "acme-features 1.2"
    assert registry.spec("feature_source", "acme").summary == "features of the ACME store"
    assert "acme_features.source" not in sys.modules
    operator = registry.operator("ACME_OP")
    assert operator.__name__ == "AcmeOp"
    assert registry.operator("ACME_OP") is operator
    assert registry.feature_source("acme").__name__ == "AcmeSource"
    assert registry.model_source("acme").__name__ == "AcmeModels"
    assert [spec.name for spec in registry.specs("operator")] == ["ACME_OP"]


def test_one_file_plugins_hold_their_classes(tmp_path):
    head = 'from sfs_core import FeatureSourceSpec, hookimpl\nSFS_API = ">=1,<2"\n' + SOURCE
    hook = '@hookimpl\ndef sfs_feature_sources(): return [FeatureSourceSpec("q", f"{__name__}:AcmeSource", "")]\n'
    (tmp_path / "quick.py").write_text(head + hook)
    registry = Registry.discover(plugin_directories=[tmp_path])
    assert registry.feature_source("q").__name__ == "AcmeSource"


def test_a_one_file_plugin_is_not_to_be_had_with_pip(tmp_path):
    (tmp_path / "quick.py").write_text(
        'from sfs_core import OperatorSpec, hookimpl\nSFS_API = ">=1,<2"\n'
        '@hookimpl\ndef sfs_operators(): return [OperatorSpec("Q", "no_such_library:Q", "")]\n'
    )
    error = refusal(Registry.discover(plugin_directories=[tmp_path]).operator, "Q")
    assert error.hint == "module 'no_such_library' is missing; install what it imports"


# ------------------------------------------------------------------------- five reasons why there is none
def test_not_installed_names_what_is_and_how_to_get_it(acme, known):
    registry = Registry.discover(allow=["acme-features"])
    error = refusal(registry.feature_source, "akme")
    assert error.code == ErrorCode.INVALID_ARGUMENT
    assert error.message == "no feature source named 'akme' is installed (installed: acme)"
    assert "did you mean 'acme'?" in error.hint
    assert refusal(registry.operator, "acme_op").code == ErrorCode.UNEXPECTED_ERROR
    assert "did you mean 'ACME_OP'?" in refusal(registry.operator, "acme_op").hint


def test_a_component_of_a_known_plugin_comes_with_its_install_command(known):
    registry = Registry()
    assert refusal(registry.operator, "ACME_OP").hint == "pip install acme-features"
    near = refusal(registry.operator, "ACME_OPP").hint
    assert near == "did you mean 'ACME_OP'? (pip install acme-features)"
    assert refusal(registry.operator, "SOMETHING ELSE").hint == "`sfs plugins list` shows what is installed"


def test_installed_but_import_failed(install, known):
    install("acme-features", "import no_such_library")
    error = refusal(Registry.discover(allow=["acme-features"]).feature_source, "acme")
    assert "comes with acme-features 1.2, which is installed but cannot be used" in error.message
    assert "No module named 'no_such_library'" in error.message
    assert "pip install --upgrade acme-features" in error.hint


def test_installed_but_its_class_cannot_be_imported(acme):
    (acme / "source.py").write_text("import no_such_library")
    registry = Registry.discover(allow=["acme-features"])
    assert registry.provider("operator", "ACME_OP").status == "active"
    error = refusal(registry.operator, "ACME_OP")
    assert error.code == ErrorCode.UNEXPECTED_ERROR
    assert "operator 'ACME_OP' of acme-features 1.2 cannot be imported: ModuleNotFoundError" in error.message
    assert "module 'no_such_library' is missing" in error.hint


def test_installed_but_disabled(acme, known):
    error = refusal(Registry.discover(deny=["acme-*"]).operator, "ACME_OP")
    assert "comes with acme-features 1.2, which is installed but disabled: denied by plugins.deny" in error.message
    assert "plugins.deny" in error.hint


def test_made_for_another_plugin_api(install, known):
    install("acme-features", DECLARATION.format(module="acme_features") + "\nSFS_API = '>=7'")
    error = refusal(Registry.discover(allow=["acme-features"]).operator, "ACME_OP")
    assert "acme-features 1.2" in error.message
    assert "it needs plugin API >=7; this sfs-core has 1.0" in error.message
    assert "install a version of acme-features that fits" in error.hint


def test_a_name_that_two_plugins_offer_is_used_of_neither(acme, install):
    install("rival", DECLARATION.format(module="rival").replace('"acme"', '"rival"'), version="3.0")
    registry = Registry.discover(allow=["acme-features", "rival"])
    error = refusal(registry.operator, "ACME_OP")
    assert error.message == "operator 'ACME_OP' is offered by acme-features 1.2 and rival 3.0"
    assert registry.specs("operator") == ()
    assert registry.feature_source("acme").__name__ == "AcmeSource"
    reasons = {plugin.id: plugin.reason for plugin in registry.plugins if plugin.status == "active"}
    assert "is offered by rival 3.0 too" in reasons["acme-features"]
    assert "is offered by acme-features 1.2 too" in reasons["rival"]


def test_an_unknown_component_points_at_unusable_plugins(install):
    install("mystery", "raise RuntimeError('boom')")
    error = refusal(Registry.discover(allow=["mystery"]).operator, "MYSTERY")
    assert "mystery (its import failed: RuntimeError: boom)" in error.hint


# ------------------------------------------------------------------------------------- what a class must be
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("class AcmeOp(", "class Other("), "does not exist"),
        (("class AcmeOp(Operator, ", "class AcmeOp(Base, "), "is not a subclass of sfs_core.Operator"),
        (("    def compute", "    def calculate"), "does not implement compute"),
        (
            ("    def compute", "    async def compute"),
            "has a coroutine function 'compute', which would be called and not awaited",
        ),
        (('name="ACME_OP"', 'name="ACME_OPERATOR"'), "calls itself 'ACME_OPERATOR'"),
    ],
)
def test_an_operator_must_be_what_its_record_says(acme, change, problem):
    base = "class Base:\n    def __init_subclass__(cls, **keywords): ...\n"
    (acme / "source.py").write_text(base + SOURCE.replace(*change))
    error = refusal(Registry.discover(allow=["acme-features"]).operator, "ACME_OP")
    assert error.message.endswith(f"acme_features.source:AcmeOp {problem}")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("    def fetch_rows", "    Config = dict\n    def fetch_rows"), "Config that is not a subclass"),
        (("(FeatureSource)", "(ModelSource)"), "is not a subclass of sfs_core.FeatureSource"),
    ],
)
def test_a_source_must_be_what_its_record_says(acme, change, problem):
    (acme / "source.py").write_text(SOURCE.replace(*change))
    error = refusal(Registry.discover(allow=["acme-features"]).feature_source, "acme")
    assert error.code == ErrorCode.INVALID_ARGUMENT
    assert problem in error.message


# ------------------------------------------------------------------------------------------------ observers
class Server:
    party = "alice"
    services = ("svc",)


def test_observers_are_told_and_their_exceptions_contained(install, caplog):
    install("failing", "@hookimpl\ndef sfs_server_started(server): raise ValueError('x')")
    install(
        "watching",
        """
        seen = []

        @hookimpl
        def sfs_server_started(server):
            seen.append(("started", server.party))

        @hookimpl
        def sfs_server_stopping(server):
            seen.append(("stopping", server.services))

        @hookimpl
        def sfs_prediction_done(event):
            seen.append(event.rows)
        """,
    )
    registry = Registry.discover(allow=["failing", "watching"])
    registry.notify_server_started(Server())
    for observer in registry.prediction_observers:
        observer(PredictionEvent("alice", "svc", 7, 1, 0.1))
    registry.notify_server_stopping(Server())
    assert sys.modules["watching"].seen == [("started", "alice"), 7, ("stopping", ("svc",))]
    assert "plugin failing: sfs_server_started failed" in caplog.text


def test_without_observers_there_is_nothing_to_call(acme):
    assert Registry.discover(allow=["acme-features"]).prediction_observers == ()
