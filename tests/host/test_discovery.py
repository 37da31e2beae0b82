from __future__ import annotations

import logging
import sys

import pytest

from sfs_core import ErrorCode, PluginError, PredictionEvent
from sfs_core.host.discovery import LoadedPlugin, discover

GOOD = """
    @hookimpl
    def sfs_feature_sources():
        yield FeatureSourceSpec("acme", "acme_features.source:AcmeSource", "features of the ACME store", egress="ids")

    @hookimpl
    def sfs_operators():
        return [OperatorSpec("ACME_OP", "acme_features.op:AcmeOp", "an operator")]
"""
RAISES = "raise RuntimeError('imported')"


def found(plugin_id: str, **keywords: object) -> LoadedPlugin:
    (plugin,) = [each for each in discover(**keywords) if each.info.id == plugin_id]  # type: ignore[arg-type]
    return plugin


def test_a_plugin_is_found_with_its_provenance(install):
    install("acme-features", GOOD)
    info = found("acme-features").info
    assert (info.distribution, info.version, info.api, info.status, info.reason) == (
        "acme-features",
        "1.2",
        ">=1,<2",
        "active",
        "",
    )
    assert [(spec.kind, spec.name) for spec in info.components] == [("feature_source", "acme"), ("operator", "ACME_OP")]
    assert 0 < info.milliseconds < 10_000
    assert "acme_features.source" not in sys.modules


def test_plugins_come_in_the_order_of_their_ids(install):
    for name in ("zeta", "alpha", "mid"):
        install(name, "")
    ids = [plugin.info.id for plugin in discover()]
    assert ids == sorted(ids)
    assert {"alpha", "mid", "zeta"} <= set(ids)


@pytest.mark.parametrize(
    ("selection", "reason"),
    [
        ({"deny": ["acme-features"]}, "plugins.deny"),
        ({"deny": ["acme-*"]}, "plugins.deny"),
        ({"deny": ["Acme_Features"]}, "plugins.deny"),
        ({"allow": ["other", "sfs-*"]}, "plugins.allow"),
        ({"allow": ["acme-features"], "deny": ["acme-features"]}, "plugins.deny"),
    ],
)
def test_a_plugin_that_is_not_allowed_is_never_imported(install, selection, reason):
    install("acme-features", RAISES)
    info = found("acme-features", **selection).info
    assert info.status == "disabled"
    assert reason in info.reason
    assert "acme_features" not in sys.modules


def test_an_allowed_pattern_loads_what_it_matches(install):
    install("acme-features", GOOD)
    install("other", RAISES)
    assert {plugin.info.id for plugin in discover(allow=["acme-*"]) if plugin.info.status != "disabled"} == {
        "acme-features"
    }


NO_API = "from sfs_core import hookimpl, FeatureSourceSpec, OperatorSpec\n"


@pytest.mark.parametrize(
    ("head", "source", "cause", "reason"),
    [
        (None, RAISES, "import", "RuntimeError: imported"),
        (None, "raise SystemExit(3)", "import", "SystemExit: 3"),
        (None, "import no_such_library", "import", "No module named 'no_such_library'"),
        (NO_API, GOOD, "api", "SFS_API"),
        (f"{NO_API}SFS_API = 1\n", GOOD, "api", "SFS_API"),
        (f"{NO_API}SFS_API = 'one or two'\n", GOOD, "api", "'one or two'"),
        (f"{NO_API}SFS_API = '>=2,<3'\n", GOOD, "api", "needs plugin API >=2,<3; this sfs-core has 1.0"),
        (None, "@hookimpl\ndef sfs_feature_source(): return []", "declaration", "did you mean 'sfs_feature_sources'?"),
        (
            None,
            "@hookimpl\ndef sfs_authenticate_all(): return []",
            "declaration",
            "unknown hook 'sfs_authenticate_all'",
        ),
        (None, "def sfs_operators(): return []", "declaration", "sfs_operators is not marked with @hookimpl"),
        (None, "@hookimpl\nasync def sfs_operators(): return []", "declaration", "coroutine"),
        (None, "@hookimpl(wrapper=True)\ndef sfs_operators(): return (yield)", "declaration", "wrapper"),
        (None, "@hookimpl\ndef sfs_operators(registry): return []", "declaration", "'registry'"),
        (None, "@hookimpl\ndef sfs_operators(): return None", "declaration", "sfs_operators failed: TypeError"),
        (None, "@hookimpl\ndef sfs_operators(): return [OperatorSpec('X', 'no-colon', '')]", "declaration", "factory"),
        (None, "@hookimpl\ndef sfs_operators(): return ['X']", "declaration", "returned str, not OperatorSpec"),
        (
            None,
            "@hookimpl\ndef sfs_operators(): return [FeatureSourceSpec('x', 'm:C', '')]",
            "declaration",
            "returned FeatureSourceSpec",
        ),
        (
            None,
            "@hookimpl\ndef sfs_operators(): return [OperatorSpec('X', 'm:C', '')] * 2",
            "declaration",
            "operator 'X' 2 times",
        ),
    ],
)
def test_a_broken_plugin_is_described_and_contributes_nothing(install, head, source, cause, reason):
    observer = "\n@hookimpl\ndef sfs_prediction_done(event): raise AssertionError\n"
    declares = "\n@hookimpl\ndef sfs_model_sources(): return [ModelSourceSpec('m', 'm:C', '')]\n"
    imports = "from sfs_core import ModelSourceSpec\n"
    if head is None:
        install("broken", imports + declares + observer + source)
    else:
        install("broken", imports + declares + observer + source.replace("\n    ", "\n"), head=head)
    install("healthy", GOOD.replace("acme", "healthy"))
    plugin = found("broken")
    assert (plugin.info.status, plugin.info.cause) == ("broken", cause)
    assert reason in plugin.info.reason
    assert plugin.info.components == ()
    assert plugin.observers == ()
    assert found("healthy").info.status == "active"


def test_an_id_that_two_distributions_claim_is_given_to_neither(install):
    install("first", RAISES, plugin_id="shared")
    install("second", RAISES, plugin_id="shared")
    plugins = [plugin.info for plugin in discover() if plugin.info.id == "shared"]
    assert [(info.status, info.cause) for info in plugins] == [("broken", "id")] * 2
    assert all("first 1.2 and second 1.2" in info.reason for info in plugins)


def test_a_module_is_one_plugin(install, site):
    install("first", GOOD)
    install("second", "", module="unused")
    (site / "second-1.2.dist-info" / "entry_points.txt").write_text("[sfs_core.plugins]\nsecond = first\n")
    assert found("first").info.status == "active"
    assert found("second").info.reason == "its module first is plugin 'first' already"


def test_a_distribution_without_metadata_does_not_stop_discovery(install, site):
    install("remains", "")
    (site / "remains-1.2.dist-info" / "METADATA").unlink()
    assert "remains" in found("remains").info.provenance


# -------------------------------------------------------------------------------------- one-file plugins
ONE_FILE = """
from sfs_core import FeatureSourceSpec, hookimpl

SFS_API = ">=1,<2"

@hookimpl
def sfs_feature_sources():
    return [FeatureSourceSpec("quick", f"{__name__}:Quick", "a quick one")]
"""


def test_files_of_a_plugin_directory_are_plugins(tmp_path):
    (tmp_path / "csv.py").write_text(ONE_FILE)
    (tmp_path / "_helper.py").write_text(RAISES)
    (tmp_path / "typo.py").write_text("def broken(:")
    plugins = {plugin.info.id: plugin.info for plugin in discover(plugin_directories=[tmp_path])}
    assert plugins["csv"].status == "active"
    assert plugins["csv"].provenance == str(tmp_path / "csv.py")
    assert [spec.name for spec in plugins["csv"].components] == ["quick"]
    assert plugins["typo"].reason.startswith("its import failed: SyntaxError")
    assert "_helper" not in plugins
    assert not [name for name in sys.modules if name.startswith("sfs_plugin_file_typo")]
    import csv

    assert hasattr(csv, "DictReader"), "a plugin file replaced a module of the standard library"


def test_a_plugin_directory_is_read_only_when_asked_for(tmp_path, monkeypatch):
    (tmp_path / "quick.py").write_text(RAISES)
    monkeypatch.chdir(tmp_path)
    assert "quick" not in {plugin.info.id for plugin in discover()}


def test_a_plugin_directory_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(PluginError, match="no plugin directory at") as caught:
        discover(plugin_directories=[tmp_path / "nowhere"])
    assert caught.value.code == ErrorCode.INVALID_ARGUMENT


# ------------------------------------------------------------------------------------------------ observers
EVENT = PredictionEvent("alice", "svc", 1, 1, 0.1)


def test_an_observer_that_fails_is_logged_once_as_an_error(install, caplog):
    install("noisy", "@hookimpl\ndef sfs_prediction_done(event): raise ValueError('x')")
    (observer,) = found("noisy").observers
    with caplog.at_level(logging.DEBUG):
        for _ in range(3):
            observer(EVENT)
    assert [record.levelname for record in caplog.records] == ["ERROR", "DEBUG", "DEBUG"]
    assert "plugin noisy: sfs_prediction_done failed" in caplog.text


def test_an_observer_may_take_no_argument(install):
    install("counter", "calls = []\n@hookimpl\ndef sfs_prediction_done(): calls.append(1)")
    (observer,) = found("counter").observers
    observer(EVENT)
    assert sys.modules["counter"].calls == [1]
