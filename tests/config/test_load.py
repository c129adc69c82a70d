"""load(): what a good configuration gives, and that a bad one gives nothing but problems."""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import config

Load = Callable[..., config.Loaded]
Problems = Callable[..., list[str]]
EXAMPLE = Path(__file__).parents[2] / "scaigrid.yaml"
CANARY = "CANARY-0123456789-canary"


def test_the_smallest_configuration_has_every_default(load_text: Load, folder: Path) -> None:
    document = load_text("").document
    server = document.server
    assert (str(server.listen), server.tls, server.data_dir) == ("127.0.0.1:8000", None, folder / "var")
    assert (server.database, server.shared_state, server.workers) == ("sqlite", "memory", 1)
    assert (server.body_limit, server.upload_limit, server.drain_timeout) == (20_000_000, 100_000_000, 30.0)
    assert server.responses_retention == 30 * 24 * 3600
    assert (document.providers, document.models, document.routing_policies, document.partners) == ({}, {}, {}, {})


def test_empty_sections_and_entries_are_allowed(load_text: Load) -> None:
    document = load_text(
        "server:\nproviders:\nmodels:\npartners:\n  acme:\n    tenants:\n      acme:\n        users:\n"
    ).document
    assert document.partners["acme"].tenants["acme"] == config.Tenant()


def test_hash_and_files_cover_all_that_was_read(load_text: Load, folder: Path) -> None:
    (folder / "key").write_text("secret")
    (folder / "more.yaml").write_text("providers:\n  a: {type: openai, api_key: '${file:key}'}\n")
    loaded = load_text("include: [more.yaml]\n")
    files = [folder / name for name in ("scaigrid.yaml", "more.yaml", "key")]
    assert list(loaded.files) == files
    assert loaded.hash == hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def test_places_lead_to_every_named_entry(load_text: Load) -> None:
    loaded = load_text("partners:\n  p:\n    tenants:\n      t:\n        users:\n          u: {}\n")
    places = {path: str(place) for path, place in loaded.places.items()}
    assert places == {
        ("partners", "p"): "scaigrid.yaml:3:3",
        ("partners", "p", "tenants", "t"): "scaigrid.yaml:5:7",
        ("partners", "p", "tenants", "t", "users", "u"): "scaigrid.yaml:7:11",
    }


def test_a_provider_without_its_environment_variable_is_unconfigured(load_text: Load) -> None:
    text = (
        "providers:\n  a: {type: openai, api_key: '${env:KEY}'}\n  b: {type: anthropic, api_key: '${env:KEY:-}'}\n"
        "  c: {type: custom, base_url: http://h/v1}\n"
    )
    missing = load_text(text).document.providers
    assert missing["a"].unconfigured == "environment variable KEY is not set"
    assert missing["b"].unconfigured == "the reference in api_key gives an empty text"
    assert missing["c"].unconfigured is None
    assert missing["a"].api_key is None
    given_key = load_text(text, {"KEY": "k"}).document.providers["a"]
    assert (given_key.api_key, given_key.unconfigured) == ("k", None)


def test_unconfigured_cannot_be_written(problems_of: Problems) -> None:
    assert "unknown key `unconfigured`" in problems_of("providers:\n  d: {type: demo, unconfigured: x}\n")[0]


def test_the_environment_of_the_process_is_the_default(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCAIGRID_TEST_KEY", "from-the-process")
    Path("s.yaml").write_text("version: 1\nproviders:\n  a: {type: openai, api_key: '${env:SCAIGRID_TEST_KEY}'}\n")
    assert config.load("s.yaml").document.providers["a"].api_key == "from-the-process"


def test_nothing_that_is_printed_shows_a_secret(load_text: Load) -> None:
    text = (
        "providers:\n  a: {type: custom, base_url: http://h/v1, api_key: '${env:S}', headers: {X-Key: '${env:S}'}}\n"
        "models:\n  m: {price: free, system_prompt: '${env:S}', route: [{backend: 'a:x'}]}\n"
        "partners:\n  p: {tenants: {t: {users: {u: {api_keys: [{key: '${env:K}'}]}}}}}\n"
    )
    loaded = load_text(text, {"S": CANARY, "K": "sgk_" + CANARY})
    assert loaded.document.providers["a"].api_key == CANARY
    assert "CANARY" not in f"{loaded!r} {loaded.document} {loaded.document.providers!r} {loaded.document.partners!s}"


def test_no_problem_and_no_traceback_shows_a_referenced_secret(folder: Path) -> None:
    places = [
        "version: $",
        "version: 1\nserver: {listen: $}",
        "version: 1\nserver: {body_limit: $, drain_timeout: $, database: $, tls: {certificate: $, key: $}}",
        "version: 1\nserver: {workers: $, shared_state: $}",
        "version: 1\nproviders: $",
        "version: 1\nproviders: {a: $}",
        "version: 1\nproviders: {a: {type: $}}",
        "version: 1\nproviders: {a: {type: custom, base_url: $, headers: {X: $$}, max_connections: $}}",
        "version: 1\nproviders: {a: {type: azure, base_url: $, api_key: $, api_version: $, api: $, entra: $}}",
        "version: 1\nproviders: {a: {type: azure, entra: {tenant_id: $, client_id: $, client_secret: $, scope: $}}}",
        "version: 1\nproviders: {a: {type: azure, entra: {authority: $}}}",
        "version: 1\nproviders: {a: {type: google, vertex: {project: $, location: $, service_account: $}}}",
        "version: 1\nproviders: {a: {type: google, vertex: $}}",
        "version: 1\nmodels: {a: {modality: $, price: {characters: $, search: $}, default_params: {voice: $, n: 5}}}",
        "version: 1\nmodels: {a: {price: free, route: [{backend: 'a:b', capabilities: {tools: $}}]}}",
        "version: 1\nserver: {upload_limit: $, responses_retention: $}",
        "version: 1\nmodels: {a: {price: $, route: $, status: $, default_params: {stop: $, temperature: $}}}",
        "version: 1\nmodels: {a: {price: {input: $, output: $}, route: [{backend: $, enabled: $}]}}",
        "version: 1\nmodels: {a: {price: free, route: [{backend: $}]}}",
        "version: 1\nmodels: {a: {price: free, route: $}}",
        "version: 1\npartners: {a: {tenants: {b: {users: {c: {email: $, roles: [$], api_keys: [{key: $}]}}}}}}",
        "version: 1\npartners: {a: {tenants: {b: {users: {c: {api_keys: [{sha256: $, expires_at: $}]}}}}}}",
        "version: 1\npartners: {a: {rate_limits: {requests_per_minute: $, tokens_per_minute: $}, budgets: [$]}}",
        "version: 1\npartners: {a: {budgets: [{period: $, cost_limit: $, timezone: $, soft_limit_pct: $}]}}",
        "version: 1\npartners: {a: {budgets: [{name: $, period: daily, token_limit: 1}, {name: $, period: total}]}}",
        "version: 1\npartners: {a: {budgets: [&b {name: $, period: daily, token_limit: 1}, *b]}}",
        "version: 1\npartners: {a: {tenants: {b: {groups: {c: {users: [$]}}}}}}",
        "version: 1\nproviders: {p: {type: openai, api_key: k}}\nmodels: {a: {price: auto, route: [{backend: 'p:$'}]}}",
        "version: 1\nmodels: {a: {price: {input: $, output: $, image: $, tiers: [{above: $, input: $}]}, route: x}}",
        "version: 1\ninclude: [$]",
    ]
    for text in places:
        Path("s.yaml").write_text(text.replace("$", '"${env:S}\\n"'))
        with pytest.raises(config.ConfigError) as caught:
            config.load("s.yaml", {"S": CANARY})
        assert "CANARY" not in str(caught.value), text
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None, text


def test_a_readable_file_with_a_literal_key_gives_a_warning(load_text: Load, folder: Path) -> None:
    text = "providers:\n  a: {type: openai, api_key: literal}\n  b: {type: openai, api_key: '${env:K}'}\n"
    (folder / "scaigrid.yaml").touch()
    (folder / "scaigrid.yaml").chmod(0o644)
    assert [str(warning) for warning in load_text(text, {"K": "k"}).warnings] == [
        "scaigrid.yaml:3:30: the key of provider `a` stands in a file that everybody on this machine may read "
        "(write `${env:NAME}`, or take the right away with chmod o-r)"
    ]
    (folder / "scaigrid.yaml").chmod(0o640)
    assert load_text(text, {"K": "k"}).warnings == ()


def test_a_readable_file_with_other_literal_secrets_gives_a_warning(load_text: Load, folder: Path) -> None:
    text = (
        "providers:\n  a:\n    type: azure\n    base_url: https://h\n"
        "    entra: {tenant_id: t, client_id: c, client_secret: literal}\n"
    )
    (folder / "scaigrid.yaml").touch()
    (folder / "scaigrid.yaml").chmod(0o644)
    assert [str(warning) for warning in load_text(text).warnings] == [
        "scaigrid.yaml:6:56: the secret of provider `a` stands in a file that everybody on this machine may read "
        "(write `${env:NAME}`, or take the right away with chmod o-r)"
    ]


def test_stored_answers_can_be_switched_off(load_text: Load) -> None:
    assert load_text("server: {responses_retention: 0s}\n").document.server.responses_retention == 0


def test_tls_files_are_found_beside_the_configuration(load_text: Load, folder: Path) -> None:
    (folder / "cert.pem").touch()
    (folder / "key.pem").touch()
    tls = load_text("server: {tls: {certificate: cert.pem, key: key.pem}}\n").document.server.tls
    assert tls == config.Tls.model_construct(certificate=folder / "cert.pem", key=folder / "key.pem")


def test_two_thousand_tenants_load_in_reasonable_time(load_text: Load) -> None:
    tenants = "".join(
        f"      t{n}:\n        display_name: Tenant {n}\n        models: [chat]\n        users:\n"
        f"          u: {{roles: [tenant_admin], api_keys: [{{name: k, sha256: {n:064x}}}]}}\n".replace(
            "sha256: 0", "sha256: a"
        )
        for n in range(2000)
    )
    begun = time.monotonic()
    loaded = load_text("partners:\n  p:\n    tenants:\n" + tenants)
    assert len(loaded.document.partners["p"].tenants) == 2000
    assert time.monotonic() - begun < 10


def load_or_refuse(content: bytes, file: Path) -> None:
    file.write_bytes(content)
    try:
        config.load(file, {"OPENAI_API_KEY": CANARY})
    except config.ConfigError as error:
        problems = error.problems
    else:
        return
    assert problems
    for problem in problems:
        assert problem.line >= 1
        assert problem.column >= 1
        assert "\n" not in problem.message + problem.hint
        assert CANARY not in str(problem)


FUZZ = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TOKENS = [
    "&a ",
    "*a",
    "<<: ",
    "${env:X}",
    "${",
    "!!int ",
    "!x ",
    "\t",
    "{",
    "}",
    "[",
    "]",
    "- ",
    ": ",
    "#",
    "'",
    '"',
    "\\0",
]
TOKENS += [
    "\0",
    "\ufeff",
    "\x85",
    "null",
    "true",
    "1e999",
    "9" * 500,
    ".nan",
    "|\n",
    "? ",
    "---\n",
    "%YAML 1.2\n",
    "é",
    "~",
]


@FUZZ
@given(st.integers(0, 2**32))
def test_a_damaged_example_raises_nothing_but_problems(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    text = EXAMPLE.read_text(encoding="utf-8")
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(text)), rng.choice((0, 0, 1, 5, 200))
        lines = text.splitlines(keepends=True)
        piece = rng.choice([*TOKENS, rng.choice(lines), "".join(rng.sample(lines, 3))])
        text = text[:at] + piece + text[at + length :]
    load_or_refuse(text.encode("utf-8", "replace"), tmp_path / "s.yaml")


@FUZZ
@given(st.binary(max_size=200))
def test_any_bytes_raise_nothing_but_problems(tmp_path: Path, content: bytes) -> None:
    load_or_refuse(content, tmp_path / "s.yaml")


KEYS = st.sampled_from(
    [
        "version",
        "server",
        "providers",
        "models",
        "partners",
        "tenants",
        "users",
        "route",
        "targets",
        "price",
        "api_keys",
        "a",
    ]
)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["free", "${x:y}"])
)
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=25
)


@FUZZ
@given(st.dictionaries(KEYS, TREES, max_size=6))
def test_any_tree_raises_nothing_but_problems(tmp_path: Path, tree: dict[str, object]) -> None:
    load_or_refuse(json.dumps(tree).encode(), tmp_path / "s.yaml")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_read_permission_is_a_problem(folder: Path) -> None:
    Path("s.yaml").touch(mode=0o000)
    with pytest.raises(config.ConfigError, match="Permission denied"):
        config.load("s.yaml", {})
