from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import ValidationError
from sfs_auth_jwt.authenticator import JsonWebTokens
from sfs_auth_jwt.options import JsonWebTokensConfig

from sfs_core import AuthenticationError, AuthenticatorContext, Caller, ConfigError, Credentials

ISSUER, AUDIENCE = "https://login.example/", "sfs-alice"
KEYS = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("one", "two", "stranger")}
RSA = rsa.generate_private_key(65537, 2048)

Make = Callable[..., JsonWebTokens]


def key_set(*names: str) -> str:
    algorithm = jwt.get_algorithm_by_name("ES256")
    keys = [algorithm.to_jwk(KEYS[name].public_key(), as_dict=True) | {"kid": name, "use": "sig"} for name in names]
    return json.dumps({"keys": keys})


def token(key: str = "one", headers: dict[str, Any] | None = None, **claims: Any) -> str:
    content = {"iss": ISSUER, "aud": AUDIENCE, "sub": "shop", "exp": time.time() + 86_400} | claims
    content = {name: value for name, value in content.items() if value is not None}
    return jwt.encode(content, KEYS[key], "ES256", {"kid": key} | (headers or {}))


def shown(text: str) -> Credentials:
    return Credentials({"authorization": f"Bearer {text}"})


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes an open authenticator whose issuer has published the key `one`."""
    (tmp_path / "keys.json").write_text(key_set("one"))
    made = []

    def make(**options: Any) -> JsonWebTokens:
        given = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": "keys.json"} | options
        config = JsonWebTokensConfig.model_validate({k: v for k, v in given.items() if v is not None})
        made.append(JsonWebTokens(config, AuthenticatorContext("alice", logging.getLogger("test"), tmp_path)))
        made[-1].open()
        return made[-1]

    yield make
    for each in made:
        each.close()
        each.close()


def test_a_good_token_names_its_caller(make: Make) -> None:
    tokens, good = make(), token()
    for _ in range(2):
        assert tokens.authenticate(shown(good)) == Caller("shop")


@pytest.mark.parametrize(
    ("claims", "services"),
    [
        ({"scope": "credit fraud"}, {"credit", "fraud"}),
        ({"scope": ["credit"]}, {"credit"}),
        ({}, set()),
        ({"scope": 7}, set()),
    ],
)
def test_a_claim_may_list_services(make: Make, claims: dict[str, Any], services: set[str]) -> None:
    tokens = make(services_claim="scope", caller_claim="client_id")
    assert tokens.authenticate(shown(token(client_id="shop", **claims))) == Caller("shop", frozenset(services))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (token(exp=time.time() - 60), "expired"),
        (token(iss="https://canary.example/"), "another issuer"),
        (token(aud="sfs-canary"), "another server"),
        (token(nbf=time.time() + 86_400), "not good"),
        (token(exp=None), "not good"),
        (token(sub=None), "not good"),
        (token(sub=""), "no name"),
        (token(sub="a\ncanary"), "no name"),
        (token("stranger"), "does not publish"),
        (token("stranger", {"kid": "one"}), "not good"),
        (token() + "canary", "not good"),
        ("canary.canary.canary", "not good"),
        (jwt.encode({"sub": "shop"}, None, "none", {"kid": "one"}), "not good"),
        (jwt.encode({"sub": "shop"}, "k" * 32, "HS256", {"kid": "one"}), "not good"),
        (jwt.encode({"sub": "shop"}, RSA, "RS256", {"kid": "one"}), "not good"),
    ],
)
def test_tokens_that_are_not_good(make: Make, text: str, reason: str) -> None:
    with pytest.raises(AuthenticationError, match=reason) as caught:
        make().authenticate(shown(text))
    assert "canary" not in caught.value.message


@pytest.mark.parametrize("headers", [{}, {"authorization": "Basic a.b.c"}, {"authorization": "Bearer an-api-key"}])
def test_what_is_no_token_is_left_to_others(make: Make, headers: dict[str, str]) -> None:
    assert make().authenticate(Credentials(headers)) is None


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_token_that_was_good_expires(make: Make) -> None:
    tokens, text = make(leeway=0.001), token(exp=str(int(time.time()) + 2))
    assert tokens.authenticate(shown(text)) == Caller("shop")

    def expired() -> bool:
        try:
            tokens.authenticate(shown(text))
        except AuthenticationError as error:
            return "expired" in error.message
        return False

    eventually(expired)


def test_new_keys_are_read_when_a_token_asks_for_them(make: Make, tmp_path: Path) -> None:
    tokens = make(refresh=0.05)
    (tmp_path / "keys.json").write_text("{not yet")
    with pytest.raises(AuthenticationError):
        tokens.authenticate(shown(token("two")))
    assert tokens.authenticate(shown(token("one"))) == Caller("shop")
    (tmp_path / "keys.json").write_text(key_set("two"))

    def known() -> bool:
        try:
            return tokens.authenticate(shown(token("two"))) == Caller("shop")
        except AuthenticationError:
            return False

    eventually(known)
    with pytest.raises(AuthenticationError, match="does not publish"):
        tokens.authenticate(shown(token("one", nbf=1)))


class _Issuer(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        body = key_set("one").encode()
        self.send_response(self.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def issuer() -> Iterator[str]:
    _Issuer.status = 200
    server = HTTPServer(("127.0.0.1", 0), _Issuer)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/keys"
    server.shutdown()
    thread.join()
    server.server_close()


def test_keys_come_from_a_url(make: Make, issuer: str) -> None:
    tokens = make(jwks_file=None, jwks_url=issuer, plain_http=True)
    assert tokens.authenticate(shown(token())) == Caller("shop")


def test_an_issuer_that_fails_at_the_start_is_told(make: Make, issuer: str) -> None:
    _Issuer.status = 500
    with pytest.raises(ConfigError, match="does not answer"):
        make(jwks_file=None, jwks_url=issuer, plain_http=True)


@pytest.mark.parametrize("content", [None, "", "[]", '{"keys": []}', '{"keys": [{"kty": "canary"}]}'])
def test_keys_that_cannot_be_read_are_told_at_the_start(make: Make, tmp_path: Path, content: str | None) -> None:
    (tmp_path / "keys.json").unlink()
    if content is not None:
        (tmp_path / "keys.json").write_text(content)
    with pytest.raises(ConfigError, match="issuer's keys") as caught:
        make()
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"jwks_file": None},
        {"jwks_url": "https://login.example/keys"},
        {"jwks_file": None, "jwks_url": "http://login.example/keys"},
        {"jwks_file": None, "jwks_url": "ftp://login.example/keys"},
        {"algorithms": ["HS256"]},
        {"algorithms": ["none"]},
        {"audience": None},
    ],
)
def test_wrong_options_are_refused(make: Make, options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make(**options)
