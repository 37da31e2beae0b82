"""`sfs he`: keys, packages without keys, and encrypted packages of plain models."""

from __future__ import annotations

import csv
import stat
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from sfs_op_phe.encrypting import encrypt_graphs
from sfs_op_phe.key_files import write_key_pair
from sfs_op_phe.schemes import fingerprint

from sfs_core import FeatureError, GraphError, read_package, write_package
from sfs_core.cli import main
from sfs_core.codec.prediction import FeatureParam, PredictRequest
from sfs_core.host.registry import Registry
from sfs_core.model.split import Tree, split_linear, split_trees
from sfs_core.testing import predictors
from tests.support.cases import load_case

from .conftest import ALONE

PARTIES = ("alice", "bob")
WEIGHTS = {"alice": {"a0": 0.5, "a1": -2.25}, "bob": {"b0": 3.0}}
TREES = [
    Tree([1, -1, -1], [2, -1, -1], ["a0", "", ""], [0.5, 0, 0], [0, 1.5, -0.25]),
    Tree([1, 3, -1, -1, -1], [2, 4, -1, -1, -1], ["b0", "a1", "", "", ""], [1.0, -1.0, 0, 0, 0], [0, 0, 4.0, 0.0, 2.0]),
]
ROWS = {"alice": [[0.25, -3.0], [0.75, 2.0], [0.5, -1.0]], "bob": [[0.0], [1.0], [0.999]]}


@pytest.fixture(scope="module")
def registry():
    return Registry.discover()


@pytest.fixture(scope="module")
def graphs(registry):
    """Plain graphs of a linear model and of trees."""
    owner = {name: party for party, weights in WEIGHTS.items() for name in weights}
    find = registry.operator
    return {
        "linear": split_linear(find, WEIGHTS, label_holder="bob", intercept=0.125, link="LF_SIGMOID_RAW"),
        "one-sided": split_linear(find, {"alice": WEIGHTS["alice"], "bob": {}}, label_holder="bob", yhat_scale=2.0),
        "trees": split_trees(
            find, TREES, owner, parties=PARTIES, label_holder="alice", base_score=0.5, link="LF_SIGMOID_RAW"
        ),
        "one-sided trees": split_trees(find, TREES[:1], owner, parties=PARTIES, label_holder="bob"),
    }


@pytest.fixture
def packages(graphs, tmp_path):
    """The plain packages, by model and party."""
    paths = {}
    for name, by_party in graphs.items():
        for party, graph in by_party.items():
            paths[name, party] = tmp_path / f"{name}-{party}.tar.gz"
            write_package(paths[name, party], name, "", graph)
    return paths


@pytest.fixture
def features(tmp_path):
    for party in PARTIES:
        with (tmp_path / f"{party}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", *WEIGHTS[party]])
            writer.writerows([i, *row] for i, row in enumerate(ROWS[party]))
    return {party: {"name": "csv", "path": str(tmp_path / f"{party}.csv")} for party in PARTIES}


async def scores(packages, features, registry, operators=None):
    request = PredictRequest.of("svc", {party: FeatureParam(["0", "1", "2"]) for party in PARTIES})
    with ThreadPoolExecutor(1) as pool:
        found = predictors(packages, features, registry, pool, operators=operators)
        return {party: (await found[party].predict(request)).scores.float64(0) for party in PARTIES}


def sfs(capsys, *arguments, code=0):
    assert main(["he", *map(str, arguments)]) == code
    captured = capsys.readouterr()
    return captured.out if code == 0 else captured.out + captured.err


# -------------------------------------------------------------------------------------------------- encrypting
@pytest.mark.parametrize("model", ["linear", "one-sided", "trees", "one-sided trees"])
async def test_encrypted_packages_score_like_plain_ones(model, packages, features, registry, parties, tmp_path, capsys):
    """The keys come from their files, and are in no package."""
    for party in PARTIES:
        write_key_pair(tmp_path / "keys" / party, parties.secrets[party])
    sources = [f"{party}={packages[model, party]}" for party in PARTIES]
    made = tmp_path / "made"
    sfs(capsys, "encrypt", *sources, "--to", made, "--keys", tmp_path / "keys", "--scale", 2**30)
    encrypted = {party: made / f"{party}.tar.gz" for party in PARTIES}
    assert all(read_package(path).graph.he.secret_key == b"" for path in encrypted.values())
    keys = [(tmp_path / "keys" / f"{party}.secret").read_text() for party in PARTIES]
    options = {spec.name: ALONE | {"secret_keys": keys} for spec in registry.specs("operator") if "PHE" in spec.name}
    plain = await scores({party: packages[model, party] for party in PARTIES}, features, registry)
    found = await scores(encrypted, features, registry, options)
    for party in PARTIES:
        np.testing.assert_allclose(found[party], plain[party], rtol=1e-6, atol=1e-8)


def test_new_keys_are_made_where_none_are_given(packages, tmp_path, capsys):
    sources = [f"{party}={packages['trees', party]}" for party in PARTIES]
    out = sfs(capsys, "encrypt", *sources, "--to", tmp_path / "made")
    for party, line in zip(PARTIES, out.splitlines(), strict=True):
        secret = tmp_path / "made" / f"{party}.secret"
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        name = line.rpartition(", ")[2]
        for path in (secret, secret.with_suffix(".public"), tmp_path / "made" / f"{party}.tar.gz"):
            assert name in sfs(capsys, "inspect", path)
    told = sfs(capsys, "encrypt", *sources, "--to", tmp_path / "made", code=1)
    assert "exist already" in told


def test_models_that_cannot_be_encrypted(graphs, parties, registry):
    linear, trees = graphs["linear"], graphs["trees"]
    headless = {party: replace(graph, nodes=dict(list(graph.nodes.items())[:1])) for party, graph in linear.items()}
    without_weights = dict.fromkeys(PARTIES, trees["bob"])
    secrets, alice = parties.secrets, parties.secrets["alice"]
    for chosen, keys, told in [
        ({"alice": linear["alice"]}, secrets, "for two parties"),
        (linear, {"alice": alice, "bob": alice}, "different keys"),
        ({"alice": linear["alice"], "bob": trees["bob"]}, secrets, "not of the same model"),
        (headless, secrets, "a graph of DOT_PRODUCT cannot be encrypted"),
        (without_weights, secrets, "0 parties have leaf weights"),
        (encrypt_graphs(linear, secrets), secrets, "encrypted already"),
    ]:
        with pytest.raises(GraphError, match=told):
            encrypt_graphs(chosen, keys)
    with pytest.raises(GraphError, match="encode_scale"):
        encrypt_graphs(linear, secrets, 2**44)
    infinite = split_linear(registry.operator, {"alice": {"x": float("inf")}, "bob": {}}, label_holder="bob")
    with pytest.raises(FeatureError, match="not finite"):
        encrypt_graphs(infinite, secrets)


# ------------------------------------------------------------------------------------------------------- keys
@pytest.mark.parametrize("scheme", ["ou", "zpaillier"])
def test_keys_are_made_and_never_overwritten(scheme, tmp_path, capsys):
    out = sfs(capsys, "keygen", tmp_path / "alice", "--scheme", scheme)
    assert stat.S_IMODE((tmp_path / "alice.secret").stat().st_mode) == 0o600
    shown = sfs(capsys, "inspect", tmp_path / "alice.public", tmp_path / "alice.secret").splitlines()
    assert shown[0].rpartition(" ")[2] == shown[1].rpartition(" ")[2] == out.split()[-1]
    assert "public key, " in shown[0]
    assert "secret key, " in shown[1]
    assert {"ou": "OU", "zpaillier": "ZPaillier"}[scheme] in shown[1]
    assert "exist already" in sfs(capsys, "keygen", tmp_path / "alice", code=1)


def test_what_is_no_key_is_told(tmp_path, capsys):
    for content, told in [(b"\xff\xfe", "no key in base64"), (b"", ""), (b"AAAA", ""), (b"\x1f\x8b12", "no gzip")]:
        (tmp_path / "file").write_bytes(content)
        shown = sfs(capsys, "inspect", tmp_path / "file", code=1)
        assert shown.startswith("error: ")
        assert told in shown
        assert str(tmp_path / "file") in shown


def test_of_a_key_file_that_was_cut_off_nothing_shows(parties, tmp_path, capsys):
    data = parties.secrets["alice"].to_bytes()[:400]
    (tmp_path / "file").write_bytes(b64encode(data))
    shown = sfs(capsys, "inspect", tmp_path / "file", code=1)
    assert "it is no key, or one that was cut off" in shown
    assert str(int.from_bytes(data[-8:], "little")) not in shown


# -------------------------------------------------------------------------------------------------- packages
def encrypted(graphs, parties, model, folder, **changes):
    """Packages of a model with the secret keys inside."""
    paths = {}
    for party, graph in encrypt_graphs(graphs[model], parties.secrets).items():
        paths[party] = folder / f"{party}.tar.gz"
        write_package(paths[party], "m", "", replace(graph, he=replace(graph.he, **changes)))
    return paths


def test_inspect_shows_matrices_and_keys(graphs, parties, tmp_path, capsys):
    shown = sfs(capsys, "inspect", encrypted(graphs, parties, "linear", tmp_path)["bob"])
    assert f"public key: OU, {parties.key('bob').n.bit_length()} bits, {fingerprint(parties.key('bob').n)}" in shown
    assert "secret key: inside\n  scale of weights: 67108864" in shown
    place = "dot (PHE_2P_DOT_PRODUCT)"
    assert f"{place} feature_weights_ciphertext: 1 x 1 ciphertexts of scheme OU under another party's key, " in shown
    assert f"{place} intercept_ciphertext: 1 x 1 ciphertexts" in shown
    shown = sfs(capsys, "inspect", encrypted(graphs, parties, "trees", tmp_path)["alice"])
    assert "select_1 (PHE_2P_TREE_SELECT) weight_shard: 3 x 1 plain numbers of up to 12" in shown
    secret = parties.secrets["alice"].to_bytes()
    assert secret.hex()[20:60] not in shown


def test_inspect_finds_what_is_wrong(graphs, parties, packages, tmp_path, capsys):
    alice = parties.secrets["alice"]
    for changes, told in [
        ({"secret_key": alice.to_bytes()}, "not that of the public key"),
        ({"public_key": b"", "secret_key": b""}, "encrypted nodes need he_config"),
        ({"encode_scale": 0}, "encode_scale"),
        ({"public_key": alice.public.to_bytes(), "secret_key": alice.to_bytes()}, "this party could read it"),
    ]:
        path = encrypted(graphs, parties, "linear", tmp_path, **changes)["bob"]
        assert "  WRONG: " in (shown := sfs(capsys, "inspect", path, code=1))
        assert told in shown
    assert "no keys" in sfs(capsys, "inspect", packages["linear", "alice"])


def test_a_sealed_package_and_its_key(graphs, parties, tmp_path, capsys):
    path = encrypted(graphs, parties, "linear", tmp_path)["alice"]
    new, key = tmp_path / "new" / "sealed.tar.gz", tmp_path / "new" / "alice.secret"
    sfs(capsys, "seal", path, "--to", new, "--secret-key", key)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before, after = read_package(path), read_package(new)
    assert after == replace(before, graph=replace(before.graph, he=replace(before.graph.he, secret_key=b"")))
    assert "secret key: not inside" in sfs(capsys, "inspect", new)
    name = fingerprint(parties.key("alice").n)
    assert name in sfs(capsys, "inspect", key)
    assert "holds no secret key" in sfs(
        capsys, "seal", new, "--to", tmp_path / "x", "--secret-key", tmp_path / "y", code=1
    )
    assert "exists already" in sfs(capsys, "seal", path, "--to", new, "--secret-key", tmp_path / "y", code=1)
    assert not (tmp_path / "x").exists()
    assert not (tmp_path / "y").exists()


def test_check_finds_keys_that_do_not_fit(graphs, parties, tmp_path, capsys):
    """Before anything is served, and whatever the other party has."""
    alice, bob = parties.secrets["alice"], parties.secrets["bob"]
    config, key = tmp_path / "party.yaml", tmp_path / "alice.secret"
    config.write_text(
        "party: alice\nservice: s\nmodel: {source: {name: local, path: alice.tar.gz}}\nlisten: {communication: 0}\n"
        "parties: {alice: h:1, bob: h:2}\noperators:\n  sfs-op-phe: {secret_keys: ['${file:alice.secret}']}\n"
    )
    name, text = fingerprint(alice.public.n), b64encode(alice.to_bytes())

    def check(secret_key, content, told):
        encrypted(graphs, parties, "linear", tmp_path, secret_key=secret_key)
        key.write_bytes(content)
        assert main(["check", str(config)]) == (1 if told else 0)
        shown = "".join(capsys.readouterr())
        assert told in shown
        assert not any(b64encode(each.to_bytes()).decode()[20:60] in shown for each in (alice, bob))
        return shown

    check(b"", text, "")
    check(alice.to_bytes(), b64encode(bob.to_bytes()), "")  # the package's own counts
    shown = check(
        b"", b64encode(bob.to_bytes()), f"none of the 1 secret_keys of the config is that of the public key {name}"
    )
    assert f"{config} service s" in shown
    check(bob.to_bytes(), text, "the OU secret key is not that of the public key")
    check(alice.to_bytes()[:-30], text, "the secret key is damaged")
    check(b"", text[:-20], "a secret key in base64 is expected")
    check(b"", b"", "operators.sfs-op-phe.secret_keys[0]: a secret key in base64 is expected")
    key.unlink()
    assert main(["check", str(config)]) == 1
    assert "alice.secret" in capsys.readouterr().err
    config.write_text(config.read_text().partition("operators")[0])
    assert main(["check", str(config)]) == 1
    assert "party alice has no secret key" in capsys.readouterr().err


def test_packages_of_secretflow_are_shown(cases, capsys):
    case = load_case(cases, "packages/sgd_logistic_he")
    for party in case.parties:
        shown = sfs(capsys, "inspect", case.package(party))
        assert "secret key: inside" in shown
        assert "under another party's key" in shown
