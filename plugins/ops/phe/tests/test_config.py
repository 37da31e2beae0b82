"""Options of the encrypted operators: secret keys beside the packages, and limits that are kept."""

from __future__ import annotations

import pickle
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError
from sfs_op_phe.building import encrypt_weights
from sfs_op_phe.config import PheConfig
from sfs_op_phe.decrypt_peer_y import PheDecryptPeerY
from sfs_op_phe.dot_product import PheDotProduct
from sfs_op_phe.keyring import keyring_of
from sfs_op_phe.powers import FixedBase
from sfs_op_phe.schemes import fingerprint

from sfs_core import Cluster, ErrorCode, GraphError
from sfs_core.cli import main

from .conftest import ALONE, SCALE, make

COLUMNS = {"partial_y_col_name": "y", "decrypted_col_name": "d"}


def text(secret):
    return b64encode(secret.to_bytes()).decode()


def without_secret(cluster):
    return Cluster(cluster.party, cluster.parties, cluster.public_keys, b"", cluster.encode_scale)


def config(*secrets, **options):
    return PheConfig(**ALONE, secret_keys=[text(secret) for secret in secrets], **options)


# ------------------------------------------------------------------------------------------------ secret keys
def test_a_key_beside_the_package_serves_like_one_inside(parties, paillier_parties):
    """Of several, the one that belongs to the package is used; replicas with the key inside open the same tokens."""
    for keys in (parties, paillier_parties):
        packed = keys.clusters["alice"]
        others = [parties.secrets["bob"], paillier_parties.secrets["bob"]]
        apart = keyring_of(without_secret(packed), config(*others, keys.secrets["alice"]))
        inside = keyring_of(packed, config())
        key = keys.key("alice")
        number = key.noise() * key.power(-12345) % key.modulus
        assert apart.decrypt([number], 64, "y") == inside.decrypt([number], 64, "y") == [-12345]
        assert apart.tokens.open(inside.tokens.seal(b"leaf 7", "here"), "here") == b"leaf 7"


def test_wrong_keys_and_none_are_told_when_the_model_is_loaded(parties):
    cluster = without_secret(parties.clusters["alice"])
    for secrets, expected in [
        ([], "party alice has no secret key"),
        ([parties.secrets["bob"]], "none of the 1 secret_keys of the config is that of the public key"),
    ]:
        operator = make(PheDecryptPeerY, options={"secret_keys": [text(each) for each in secrets]}, **COLUMNS)
        with pytest.raises(GraphError, match=expected) as caught:
            operator.prepare(cluster)
        assert caught.value.code == ErrorCode.LOGIC_ERROR
        assert not secrets or fingerprint(parties.key("alice").n) in str(caught.value)
        shown = str(caught.value) + caught.value.hint + caught.value.detail
        assert not any(text(secret)[20:60] in shown for secret in parties.secrets.values())


@pytest.mark.parametrize("key", ["", "no base64!", "AAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAA", "ä" * 40])
def test_what_is_no_key_is_told_when_the_config_is_read(key):
    with pytest.raises(ValidationError) as caught:
        PheConfig(secret_keys=[key])
    assert "a secret key in base64 is expected" in str(caught.value) or "keys of scheme mock" in str(caught.value)
    assert not key or key not in str(caught.value)


def test_of_a_key_that_was_cut_off_nothing_shows(parties):
    data = parties.secrets["alice"].to_bytes()
    for length in (20, 60, 200, len(data) - 9):
        with pytest.raises(ValidationError, match="a secret key in base64 is expected") as caught:
            PheConfig(secret_keys=[b64encode(data[:length]).decode()])
        assert str(int.from_bytes(data[length - 8 : length], "little")) not in str(caught.value)


def test_keys_show_nowhere(parties, tmp_path: Path, capsys):
    secret = parties.secrets["alice"]
    keyring = keyring_of(without_secret(parties.clusters["alice"]), config(secret))
    operator = make(PheDecryptPeerY, options={"secret_keys": [text(secret)]}, **COLUMNS)
    for each in (operator.config, keyring, operator, secret, keyring.tokens):
        assert text(secret)[20:60] not in repr(each) + str(each) + repr(vars(each))
    for each in (operator.config, keyring.secret, parties.clusters["alice"]):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(each)
    (tmp_path / "alice.secret").write_text(text(secret) + "\n")
    (tmp_path / "party.yaml").write_text(PARTY)
    assert main(["config", "show", str(tmp_path / "party.yaml")]) == 0
    shown = capsys.readouterr().out
    assert "noise_stock: 7" in shown
    assert text(secret)[20:60] not in shown
    (tmp_path / "alice.secret").write_text("x" + text(secret))
    assert main(["config", "show", str(tmp_path / "party.yaml")]) == 1
    told = capsys.readouterr().err
    assert "party.yaml:7 operators.sfs-op-phe.secret_keys[0]: a secret key in base64 is expected" in told
    assert text(secret)[20:60] not in told


PARTY = """\
party: alice
service: s
model: {source: {name: local, path: a.tar.gz}}
listen: {communication: 0}
parties: {alice: h:1, bob: h:2}
operators:
  sfs-op-phe: {noise_stock: 7, secret_keys: ["${file:alice.secret}"]}
"""


# ----------------------------------------------------------------------------------------------------- limits
def test_tables_of_all_nodes_together_keep_to_their_memory(parties):
    key = parties.key("bob")
    one = FixedBase.memory(key.modulus, 4, 8)
    options = {"table_memory": 5 * one}
    attributes = {
        "feature_names": ["a", "b"],
        "feature_types": ["DT_DOUBLE"] * 2,
        "feature_weights_ciphertext": encrypt_weights([1.0, 2.0], SCALE, key),
        "result_col_name": "y",
        "rand_number_col_name": "r",
    }
    cluster = without_secret(parties.clusters["alice"])
    options["secret_keys"] = [text(parties.secrets["alice"])]
    dots = [make(PheDotProduct, (), options=options, **attributes) for _ in range(20)]
    for dot in dots:
        dot.prepare(cluster)
    taken = [dot._sums.memory for dot in dots]
    assert taken[:2] == [2 * one, 2 * one]
    assert 0 < taken[2] < one
    assert taken[-1] == 0
    assert sum(taken) <= options["table_memory"]


def test_tables_tell_how_far_they_are(parties):
    told = []
    alice = parties.clusters["alice"]
    cluster = replace(alice, progress=lambda done, total: told.append((done, total)))
    weights = encrypt_weights([1.0, 2.0, 3.0], SCALE, parties.key("bob"))
    names = {
        "feature_names": ["a", "b", "c"],
        "feature_types": ["DT_DOUBLE"] * 3,
        "feature_weights_ciphertext": weights,
    }
    make(PheDotProduct, (), result_col_name="y", rand_number_col_name="r", **names).prepare(cluster)
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_operators_tell_how_full_stocks_are(parties):
    operator = make(PheDecryptPeerY, **COLUMNS)
    assert operator.state() == {}
    operator.prepare(parties.clusters["alice"])
    before = operator.state().get("phe_own_noise_missed", 0)
    operator.keyring.own_noise.take(3)
    state = operator.state()
    assert (state["phe_own_noise_held"], state["phe_own_noise_limit"]) == (0, 0)
    assert state["phe_own_noise_missed"] == before + 3


def test_digits_and_workers_are_as_configured(parties):
    keyring = keyring_of(parties.clusters["alice"], config(digit_bits=64))
    assert (keyring.own.digit_bits, keyring.theirs.digit_bits, keyring.workers.count) == (64, 64, 0)
    for wrong in ({"digit_bits": 7}, {"workers": -1}, {"noise_stock": -1}, {"table_memory": True}, {"table_mb": 1}):
        with pytest.raises(ValidationError):
            PheConfig(**wrong)
