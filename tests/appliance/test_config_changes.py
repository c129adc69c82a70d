"""What differs is told by name and key, never by value."""

from __future__ import annotations

from pathlib import Path

import pytest

import config
from appliance.config_changes import changes, needs_restart, without_restart
from support.build import load_yaml

BASE = """
server: {data_dir: /tmp/var}
providers:
  one: {type: custom, base_url: "http://one.test/v1", api_key: secret-of-one}
models:
  m: {price: free, route: p}
routing_policies:
  p: {targets: [{backend: "one:a"}]}
partners:
  north:
    tenants:
      acme: {users: {alice: {}, bob: {}}}
"""


def document(*replaced: tuple[str, str]) -> config.Document:
    text = BASE
    for old, new in replaced:
        assert old in text
        text = text.replace(old, new)
    return load_yaml(text).document


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("secret-of-one", "secret-of-two", ["provider one changed: api_key"]),
        ("m: {price: free", "n: {price: free", ["model m removed", "model n added"]),
        ("price: free", 'price: {input: "1.00", output: "2.00"}', ["model m changed: price"]),
        ("{targets:", "{retries: 7, targets:", ["routing policy p changed: retries"]),
        ("    tenants:", "    display_name: North\n    tenants:", ["partner north changed: display_name"]),
        ("bob: {}", "carol: {}", ["tenant acme: user bob removed", "tenant acme: user carol added"]),
        ("alice: {}", "alice: {roles: [tenant_admin]}", ["tenant acme: user alice changed: roles"]),
        ("users: {alice", 'models: ["x*"], users: {alice', ["tenant acme changed: models"]),
        ("acme:", "other:", ["tenant acme removed", "tenant other added"]),
        ("/tmp/var", "/tmp/var, drain_timeout: 1s, body_limit: 1MB", ["server changed: drain_timeout"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_one_sentence_for_each_entry(old: str, new: str, told: list[str]) -> None:
    assert changes(document(), document((old, new))) == told


def test_the_same_differs_in_nothing() -> None:
    assert changes(document(), document()) == []


def test_an_unconfigured_provider_is_the_same_as_before() -> None:
    text = BASE.replace("secret-of-one", "'${env:NOT_SET}'")
    assert changes(load_yaml(text).document, load_yaml(text).document) == []


def test_static_keys_keep_what_serves_and_live_ones_follow() -> None:
    old = document().server
    new = document(("/tmp/var", "/tmp/var, listen: ':9', drain_timeout: 1s")).server
    assert needs_restart(old, new) == ["server.listen"]
    effective = without_restart(old, new)
    assert (effective.listen, effective.drain_timeout) == (old.listen, 1.0)
    assert needs_restart(effective, new) == ["server.listen"], "named at every reload until the restart"
    assert needs_restart(effective, old) == []


def test_tls_that_comes_or_goes_needs_a_restart_other_files_do_not() -> None:
    plain = document().server
    tls = config.Tls.model_construct(certificate=Path("a.pem"), key=Path("a.key"))
    other = config.Tls.model_construct(certificate=Path("b.pem"), key=Path("b.key"))
    with_tls, with_other = (plain.model_copy(update={"tls": each}) for each in (tls, other))
    assert needs_restart(plain, with_tls) == ["server.tls"]
    assert needs_restart(with_tls, plain) == ["server.tls"]
    assert without_restart(plain, with_tls).tls is None
    assert without_restart(with_tls, plain).tls is tls
    assert needs_restart(with_tls, with_other) == []
    assert without_restart(with_tls, with_other).tls is other
