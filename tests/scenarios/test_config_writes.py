"""Policies, models, backends and providers changed over the API: the file says it, comments kept, and it serves.

Every write is answered with the generation that serves; one that is refused changes neither the file nor what serves.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.appliance import Answer, Gateway, running
from support.people import call, chat, data, delete, key_for, new_role, new_user, put, refusal, said
from support.tenancy import key_of

LIMITS = "{requests_per_minute: unlimited}"
ADA = key_of("acme", "ada")
KEY = "sk-upstream-key-0123456789"

YAML = f"""# Comments that must stay; circuit_breaker as it is by default.
include: [conf.d/*.yaml]

providers:
  demo: {{type: demo}}       # answers by itself
  up:
    type: custom
    base_url: "http://127.0.0.1:9/v1"   # nobody there
    api_key: "${{env:UP_KEY:-none}}"

models:
  gpt:                 # the one that everybody uses
    price: {{input: "1.00", output: "2.00"}}   # what they pay
    route: steady
  plain:
    price: free
    route:
      # the order of the list counts
      - backend: demo:one      # first
      - backend: demo:two      # then
  secret: {{price: free, route: [{{backend: "demo:hidden"}}]}}

routing_policies:
  steady:
    # a comment of the policy
    retries: 1           # one more
    deadline: 2m
    targets:
      - backend: demo:one
        enabled: true    # the word to flip
        cost: {{input: "0.50", output: "1.00"}}
      - {{backend: "demo:two", when: {{tenants: ["acme", "giant-*"]}}}}   # some only
      - {{backend: "demo:far", when: {{tenants: [far]}}}}
  spare: {{targets: [{{backend: "demo:spare"}}]}}   # nobody uses it

partners:
  north:
    rate_limits: {LIMITS}
    tenants:
      acme:
        models: [gpt, plain, fresh]
        rate_limits: {LIMITS}
        user_rate_limits: {LIMITS}
        key_rate_limits: {LIMITS}
        users:
          ada: {{roles: [tenant_admin], api_keys: [{{key: "{ADA}"}}]}}
      far:
        models: [gpt]
"""
INCLUDED = """# of its own
models:
  elsewhere: {price: free, route: [{backend: "demo:else", enabled: true}]}   # in another file
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(YAML, tmp_path_factory.mktemp("writes")) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared: Gateway) -> Gateway:
    """With the plain configuration in force."""
    included(shared).parent.mkdir(exist_ok=True)
    included(shared).write_text(INCLUDED)
    shared.write(YAML)
    shared.config.chmod(0o644)
    assert shared.post("/v1/config/reload", None).status == 200
    return shared


def included(gateway: Gateway) -> Path:
    return gateway.folder / "conf.d" / "models.yaml"


def generation(gateway: Gateway) -> int:
    return int(data(gateway.get("/v1/config"))["generation"])


def changed_lines(before: str, after: str) -> tuple[list[str], list[str]]:
    """(lines that went, lines that came), in their order."""
    old, new = before.splitlines(), after.splitlines()
    return [line.strip() for line in old if line not in new], [line.strip() for line in new if line not in old]


def written(gateway: Gateway, answer: Answer) -> tuple[list[str], list[str]]:
    """What a good write changed in the main file, which is in force with the generation that the answer names."""
    assert data(answer)["generation"] == generation(gateway)
    plain = Path(gateway.folder / "plain.yaml")
    return changed_lines(plain.read_text(), gateway.config.read_text())


@pytest.fixture(autouse=True)
def plain(gateway: Gateway) -> str:
    text = gateway.config.read_text()
    (gateway.folder / "plain.yaml").write_text(text)
    return text


# -- routing policies -------------------------------------------------------------------------------------------------


def test_policies_are_shown_in_the_words_of_the_file(gateway: Gateway) -> None:
    items = data(gateway.get("/v1/routing-policies"))["items"]
    assert [item["id"] for item in items] == ["model:elsewhere", "model:plain", "model:secret", "spare", "steady"]
    steady = data(gateway.get("/v1/routing-policies/steady"))
    assert steady == items[-1]
    assert (steady["retries"], steady["deadline"], steady["strategy"], steady["inline"]) == (1, "2m", "priority", False)
    assert steady["circuit_breaker"] == {"failures": 5, "window": "30s", "cooldown": "15s"}
    assert steady["models"] == ["gpt"]
    first, second, _ = steady["targets"]
    assert first["cost"] == {"input": "0.50", "output": "1.00"}
    assert (second["enabled"], second["when"]) == (True, {"tenants": ["acme", "giant-*"]})
    inline = data(gateway.get("/v1/routing-policies/model:plain"))
    assert (inline["inline"], inline["models"]) == (True, ["plain"])
    first_page = gateway.get("/v1/routing-policies?limit=2").json()
    assert first_page["pagination"] == {"has_more": True, "next_cursor": "model:plain"}
    rest = data(gateway.get("/v1/routing-policies?cursor=model:plain"))["items"]
    assert [item["id"] for item in rest] == ["model:secret", "spare", "steady"]


def test_a_tenant_sees_what_its_own_models_are_routed_by_and_no_more(gateway: Gateway) -> None:
    mine = data(gateway.get("/v1/routing-policies", key=ADA))["items"]
    assert [item["id"] for item in mine] == ["model:plain", "steady"]
    targets = mine[1]["targets"]
    assert [(target["backend"], target["when"]) for target in targets] == [
        ("demo:one", None),
        ("demo:two", {"tenants": ["acme"]}),
    ], "neither other tenants' names nor targets that are theirs alone"
    assert all("cost" not in target for target in targets)
    hidden = gateway.get("/v1/routing-policies/model:secret", key=ADA)
    nothing = gateway.get("/v1/routing-policies/model:nothing", key=ADA)
    assert (refusal(hidden), refusal(nothing)) == ((404, "NOT_FOUND"), (404, "NOT_FOUND"))
    assert said(hidden).replace("secret", "nothing") == said(nothing)


def test_an_answer_of_get_may_be_sent_back_as_it_is(gateway: Gateway, plain: str) -> None:
    before = generation(gateway)
    for path in (
        "/v1/routing-policies/steady",
        "/v1/routing-policies/model:plain",
        "/v1/models/gpt",
        "/v1/providers/up",
    ):
        key = ADA if path == "/v1/models/gpt" else ""
        done = data(put(gateway, path, data(gateway.get(path, key=key))))
        assert (done["generation"], done["changes"]) == (before, [])
    assert gateway.config.read_text() == plain


def test_a_policy_keeps_the_comments_of_what_stays(gateway: Gateway) -> None:
    targets = [
        {"backend": "demo:three", "weight": 5},
        {"backend": "demo:one", "enabled": False, "cost": {"input": "0.50", "output": "1.00"}},
    ]
    body = {"retries": 3, "deadline": None, "hedge": True, "targets": targets}
    answer = put(gateway, "/v1/routing-policies/steady", body)
    assert data(answer)["changes"] == ["routing policy steady changed: targets, retries, deadline, hedge"]
    went, came = written(gateway, answer)
    assert "enabled: true    # the word to flip" in went
    assert "enabled: false   # the word to flip" in came
    assert "retries: 3           # one more" in came
    assert "# a comment of the policy" in gateway.config.read_text()
    shown = data(gateway.get("/v1/routing-policies/steady"))
    assert [target["backend"] for target in shown["targets"]] == ["demo:three", "demo:one"]
    assert (shown["retries"], shown["deadline"], shown["hedge"]) == (3, "10m", True)
    assert call(gateway, ADA, "gpt") == 200


def test_a_short_route_becomes_a_policy_when_it_says_more(gateway: Gateway) -> None:
    answer = put(gateway, "/v1/routing-policies/model:plain", {"strategy": "weighted"})
    went, came = written(gateway, answer)
    assert (went, came) == ([], ["targets:", "strategy: weighted"])
    assert data(answer)["strategy"] == "weighted"


def test_a_policy_is_made_used_and_deleted(gateway: Gateway, plain: str) -> None:
    body = {"name": "new", "strategy": "weighted", "targets": [{"backend": "demo:x", "weight": 3}]}
    assert data(gateway.post("/v1/routing-policies", body))["models"] == []
    assert refusal(gateway.post("/v1/routing-policies", body)) == (409, "SLUG_CONFLICT")
    assert data(put(gateway, "/v1/models/plain", {"route": "new"}))["route"] == "new"
    assert data(gateway.get("/v1/routing-policies/new"))["models"] == ["plain"]
    used = delete(gateway, "/v1/routing-policies/new")
    assert refusal(used) == (409, "IN_USE")
    assert "plain" in said(used)
    assert data(put(gateway, "/v1/models/plain", {"route": [{"backend": "demo:one"}]}))
    assert data(delete(gateway, "/v1/routing-policies/new"))["deleted"] is True
    assert refusal(gateway.get("/v1/routing-policies/new")) == (404, "NOT_FOUND")
    assert refusal(delete(gateway, "/v1/routing-policies/model:plain")) == (409, "IN_USE")
    assert refusal(delete(gateway, "/v1/routing-policies/nothing")) == (404, "NOT_FOUND")


# -- backends ---------------------------------------------------------------------------------------------------------


def test_a_backend_is_switched_in_every_policy_that_has_it(gateway: Gateway) -> None:
    answer = put(gateway, "/v1/backends/demo:one", {"enabled": False})
    assert data(answer)["enabled"] is False
    assert data(answer)["policies"] == ["steady", "model:plain"]
    went, came = written(gateway, answer)
    assert went == ["enabled: true    # the word to flip"]
    assert sorted(came) == ["enabled: false", "enabled: false   # the word to flip"]
    reply = gateway.post("/v1/inference/chat", chat("plain"), key=ADA)
    assert reply.headers["X-Scaigrid-Backend"] == "demo:two"
    off = put(gateway, "/v1/backends/demo:two", {"enabled": False})
    assert data(off)["without_target"] == ["plain"], "it says whom this leaves without a target"
    assert call(gateway, ADA, "plain") == 503


def test_a_weight_does_not_turn_a_list_upside_down(gateway: Gateway) -> None:
    """A list without weights is asked in its order; with one weight, the others would all share the first place."""
    answer = gateway.post("/v1/backends", {"uri": "demo:canary", "model": "plain", "weight": 1})
    assert data(answer)["models"] == ["plain"]
    targets = data(gateway.get("/v1/routing-policies/model:plain"))["targets"]
    assert [(target["backend"], target["priority"], target["weight"]) for target in targets] == [
        ("demo:one", 1, None),
        ("demo:two", 2, None),
        ("demo:canary", None, 1),
    ]
    assert data(put(gateway, "/v1/backends/demo:canary", {"weight": None, "priority": 3}))
    assert data(gateway.get("/v1/routing-policies/model:plain"))["targets"][2]["priority"] == 3


def test_a_target_is_added_and_taken_out_again(gateway: Gateway, plain: str) -> None:
    body = {"provider_id": "demo", "upstream_model": "add/ed", "policy": "spare", "enabled": False, "cost": "free"}
    added = data(gateway.post("/v1/backends", body))
    assert (added["id"], added["models"], added["policies"]) == ("demo:add/ed", [], ["spare"])
    assert refusal(gateway.post("/v1/backends", body)) == (409, "SLUG_CONFLICT")
    assert data(delete(gateway, "/v1/backends/demo:add%2Fed"))["deleted"] is True
    assert gateway.config.read_text() == plain
    assert data(delete(gateway, "/v1/backends/demo:two"))["changes"] == [
        "model plain changed: route",
        "routing policy steady changed: targets",
    ]
    last = delete(gateway, "/v1/backends/demo:one")
    assert refusal(last) == (409, "IN_USE")
    assert "model:plain" in said(last)
    assert refusal(delete(gateway, "/v1/backends/demo:two")) == (404, "BACKEND_NOT_FOUND")


# -- models -----------------------------------------------------------------------------------------------------------


def test_a_model_is_made_changed_disabled_and_deleted(gateway: Gateway, plain: str) -> None:
    body = {
        "slug": "fresh",
        "display_name": "Fresh one",
        "input_price_per_mtok": "2.50",
        "output_price_per_mtok": "10.00",
        "default_params": {"temperature": 0.5},
        "route": [{"backend": "demo:fresh"}],
    }
    assert call(gateway, ADA, "fresh") == 404
    made = data(gateway.post("/v1/models", body))
    assert (made["slug"], made["input_price_per_mtok"], made["price"]) == (
        "fresh",
        "2.50",
        {"input": "2.50", "output": "10.00"},
    )
    assert call(gateway, ADA, "fresh") == 200
    assert refusal(gateway.post("/v1/models", body)) == (409, "SLUG_CONFLICT")
    dearer = data(put(gateway, "/v1/models/fresh", {"output_price_per_mtok": "11.00", "display_name": None}))
    assert (dearer["price"], dearer["display_name"]) == ({"input": "2.50", "output": "11.00"}, "fresh")
    serving = delete(gateway, "/v1/models/fresh")
    assert refusal(serving) == (409, "IN_USE")
    assert "disabled" in said(serving)
    assert data(put(gateway, "/v1/models/fresh", {"status": "disabled"}))["status"] == "disabled"
    assert call(gateway, ADA, "fresh") == 404
    assert data(delete(gateway, "/v1/models/fresh"))["deleted"] is True
    assert gateway.config.read_text() == plain
    assert refusal(put(gateway, "/v1/models/fresh", {"status": "active"})) == (404, "MODEL_NOT_FOUND")


def test_a_price_that_is_a_word_needs_both_prices(gateway: Gateway) -> None:
    half = put(gateway, "/v1/models/plain", {"input_price_per_mtok": "1.00"})
    assert refusal(half) == (422, "VALIDATION_ERROR")
    assert "output_price_per_mtok" in said(half)
    whole = put(gateway, "/v1/models/plain", {"input_price_per_mtok": "1.00", "output_price_per_mtok": "2.00"})
    assert data(whole)["price"] == {"input": "1.00", "output": "2.00"}


def test_a_fallback_of_another_model_stays(gateway: Gateway) -> None:
    data(put(gateway, "/v1/models/gpt", {"fallback": {"context_window": "plain"}}))
    data(put(gateway, "/v1/models/plain", {"status": "disabled"}))
    answer = delete(gateway, "/v1/models/plain")
    assert refusal(answer) == (409, "IN_USE")
    assert "gpt" in said(answer)


def test_the_included_file_that_holds_the_entry_is_the_one_that_changes(gateway: Gateway, plain: str) -> None:
    data(put(gateway, "/v1/backends/demo:else", {"enabled": False}))
    assert gateway.config.read_text() == plain
    assert included(gateway).read_text() == INCLUDED.replace("enabled: true", "enabled: false")


# -- providers --------------------------------------------------------------------------------------------------------


def test_a_provider_is_made_changed_and_deleted(gateway: Gateway, plain: str) -> None:
    body = {
        "name": "eu",
        "provider_type": "openai",
        "connection_config": {"api_key": "${env:EU_KEY}", "headers": {"X-Org": "acme"}},
    }
    made = data(gateway.post("/v1/providers", body))
    assert (made["status"], made["provider_type"]) == ("unconfigured", "openai")
    assert "EU_KEY" in made["unconfigured"]
    assert refusal(gateway.post("/v1/providers", body)) == (409, "SLUG_CONFLICT")
    data(put(gateway, "/v1/providers/eu", {"timeouts": {"idle": "3s"}, "headers": None}))
    assert "timeouts: {idle: 3s}" in gateway.config.read_text()
    data(gateway.post("/v1/backends", {"uri": "eu:gpt-4o", "policy": "spare"}))
    used = delete(gateway, "/v1/providers/eu")
    assert refusal(used) == (409, "PROVIDER_HAS_BACKENDS")
    assert "eu:gpt-4o in spare" in said(used)
    data(delete(gateway, "/v1/backends/eu:gpt-4o"))
    assert data(delete(gateway, "/v1/providers/eu"))["deleted"] is True
    assert gateway.config.read_text() == plain
    for answer in (put(gateway, "/v1/providers/eu", {}), delete(gateway, "/v1/providers/eu")):
        assert refusal(answer) == (404, "PROVIDER_NOT_FOUND")


def test_a_key_in_plain_words_is_written_only_where_not_everybody_reads_it(gateway: Gateway) -> None:
    new = {"name": "eu", "type": "openai", "api_key": KEY}
    for answer in (
        gateway.post("/v1/providers", new),
        put(gateway, "/v1/providers/up", {"api_key": KEY}),
        put(gateway, "/v1/providers/up", {"headers": {"Authorization": KEY}}),
    ):
        assert refusal(answer) == (422, "VALIDATION_ERROR")
        assert "${env:NAME}" in said(answer)
        assert KEY not in answer.body.decode()
    assert KEY not in gateway.config.read_text()
    data(put(gateway, "/v1/providers/up", {"headers": {"X-Org": "acme"}}))
    gateway.config.chmod(0o640)
    answer = gateway.post("/v1/providers", new)
    assert data(answer)["status"] == "active"
    assert KEY in gateway.config.read_text()
    assert gateway.config.stat().st_mode & 0o777 == 0o640
    assert KEY not in answer.body.decode() + gateway.output()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/providers/up", {"base_url": "${env:HOME}"}),
        ("/v1/providers/up", {"entra": {"tenant_id": "${env:HOME}", "client_id": "x", "client_secret": "y"}}),
        ("/v1/models/plain", {"display_name": "${env:PATH}"}),
        ("/v1/models/plain", {"system_prompt": "be ${file:/etc/passwd}"}),
        ("/v1/routing-policies/spare", {"targets": [{"backend": "demo:${env:HOME}"}]}),
    ],
)
def test_nobody_reads_the_gateways_environment_through_a_reference(
    gateway: Gateway, plain: str, path: str, body: Any
) -> None:
    answer = put(gateway, path, body)
    assert refusal(answer) == (422, "VALIDATION_ERROR")
    assert "reference" in said(answer)
    assert gateway.config.read_text() == plain


# -- what is refused --------------------------------------------------------------------------------------------------

REFUSED = {
    "an unknown member": ("PUT", "/v1/routing-policies/steady", {"retrys": 1}, "did you mean retries?"),
    "a policy without targets": ("POST", "/v1/routing-policies", {"name": "x"}, "targets: is required"),
    "a policy without a name": ("POST", "/v1/routing-policies", {"targets": []}, "name: is required"),
    "a name that is none": ("POST", "/v1/routing-policies", {"name": "a b", "targets": []}, "not usable as a name"),
    "a wrong duration": ("PUT", "/v1/routing-policies/steady", {"deadline": "2"}, "is no duration"),
    "no targets left": ("PUT", "/v1/routing-policies/steady", {"targets": []}, "targets"),
    "targets taken away": ("PUT", "/v1/routing-policies/steady", {"targets": None}, "needs at least one"),
    "an unknown provider": ("PUT", "/v1/models/plain", {"route": [{"backend": "nope:x"}]}, "nope"),
    "an unknown policy": ("PUT", "/v1/models/plain", {"route": "nope"}, "nope"),
    "a model without a price": ("POST", "/v1/models", {"slug": "x", "route": "steady"}, "price: is required"),
    "half a price": (
        "POST",
        "/v1/models",
        {"slug": "x", "route": "steady", "input_price_per_mtok": "1"},
        "output_price_per_mtok: is required",
    ),
    "two prices": (
        "PUT",
        "/v1/models/gpt",
        {"price": "free", "input_price_per_mtok": "3"},
        "not both",
    ),
    "a price as a number": ("PUT", "/v1/models/gpt", {"input_price_per_mtok": 3}, "as a text"),
    "a route taken away": ("PUT", "/v1/models/gpt", {"route": None}, "cannot be taken away"),
    "another name": ("PUT", "/v1/models/gpt", {"slug": "gpt5"}, "is not a member"),
    "a weight that is none": ("PUT", "/v1/backends/demo:one", {"weight": "x"}, "takes a whole number"),
    "a member that targets do not share": ("PUT", "/v1/backends/demo:one", {"when": {}}, "known are enabled"),
    "a target for nobody": ("POST", "/v1/backends", {"uri": "demo:x"}, "send `model`"),
    "a target without a name": ("POST", "/v1/backends", {"policy": "spare", "provider_id": "demo"}, "upstream_model"),
    "an unknown type": ("POST", "/v1/providers", {"name": "x", "type": "opnai"}, "type: takes"),
    "a provider without its key": ("POST", "/v1/providers", {"name": "x", "type": "openai"}, "needs an `api_key`"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_stand_in_the_file_is_refused_and_nothing_changes(gateway: Gateway, plain: str, case: str) -> None:
    method, path, body, words = REFUSED[case]
    before = generation(gateway)
    answer = gateway.request(method, path, body)
    assert refusal(answer) == (422, "VALIDATION_ERROR")
    assert words in said(answer)
    assert answer.json()["error"]["details"]
    assert (gateway.config.read_text(), generation(gateway)) == (plain, before)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/routing-policies", {"name": "x", "targets": [{"backend": "demo:x"}]}),
        ("PUT", "/v1/routing-policies/steady", {"retries": 0}),
        ("DELETE", "/v1/routing-policies/spare", None),
        ("PUT", "/v1/backends/demo:one", {"enabled": False}),
        ("POST", "/v1/models/gpt/switch", {"to": "demo:two"}),
        ("PUT", "/v1/models/gpt", {"status": "disabled"}),
        ("DELETE", "/v1/providers/up", None),
    ],
)
def test_a_custom_role_of_a_tenant_does_not_reach_what_all_tenants_share(
    gateway: Gateway, plain: str, method: str, path: str, body: Any
) -> None:
    answer = gateway.request(method, path, body, key=_operator(gateway))
    assert refusal(answer) == (403, "AUTHZ_PERMISSION_DENIED")
    assert "super_admin" in said(answer)
    assert gateway.config.read_text() == plain


def _operator(gateway: Gateway) -> str:
    """The key of a user who has both permissions by a role of his tenant's own."""
    held = ["models:manage", "routing:manage"]
    user, role = new_user(gateway, "acme"), new_role(gateway, "acme", core_permissions=held)
    data(put(gateway, f"/v1/users/{user}/roles", {"custom_role_ids": [role]}))
    secret = key_for(gateway, user)
    assert set(held) <= set(data(gateway.get("/v1/me", key=secret))["permissions"])
    return secret


# -- two editors ------------------------------------------------------------------------------------------------------


def test_what_somebody_else_wrote_and_does_not_serve_is_shown_and_not_overwritten(gateway: Gateway, plain: str) -> None:
    theirs = plain.replace("retries: 1 ", "retrise: 1 ").replace("none}", KEY + "}")
    gateway.config.write_text(theirs)
    answer = put(gateway, "/v1/backends/demo:one", {"enabled": False})
    assert refusal(answer) == (409, "CONFIG_CONFLICT")
    (told,) = answer.json()["error"]["details"]
    assert told["file"] == str(gateway.config)
    assert "-    retries: 1           # one more" in told["diff"]
    assert "+    retrise: 1           # one more" in told["diff"]
    assert KEY not in answer.body.decode()
    assert gateway.config.read_text() == theirs


def test_who_has_seen_another_generation_is_told(gateway: Gateway) -> None:
    seen = generation(gateway)
    first = _put_if(gateway, {"retries": 4}, seen)
    assert data(first)["generation"] == seen + 1
    second = _put_if(gateway, {"retries": 5}, seen)
    assert refusal(second) == (409, "CONFIG_CONFLICT")
    assert "routing policy steady changed: retries" in second.json()["error"]["details"][0]["message"]
    assert data(gateway.get("/v1/routing-policies/steady"))["retries"] == 4
    assert data(_put_if(gateway, {"retries": 5}, f'"{seen + 1}"'))["retries"] == 5
    assert refusal(_put_if(gateway, {"retries": 6}, "latest")) == (422, "VALIDATION_ERROR")


def _put_if(gateway: Gateway, body: Any, match: object) -> Answer:
    return gateway.request("PUT", "/v1/routing-policies/steady", body, headers={"If-Match": str(match)})


def test_editors_who_come_together_lose_nothing(gateway: Gateway) -> None:
    answers: list[Answer] = []
    names = [f"at-once-{number}" for number in range(8)]

    def make(name: str) -> None:
        answers.append(gateway.post("/v1/routing-policies", {"name": name, "targets": [{"backend": "demo:x"}]}))

    threads = [threading.Thread(target=make, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status for answer in answers} == {200}
    assert len({data(answer)["generation"] for answer in answers}) == len(names)
    assert set(names) <= {item["id"] for item in data(gateway.get("/v1/routing-policies"))["items"]}


def test_a_file_that_cannot_be_edited_says_where(gateway: Gateway) -> None:
    text = (
        gateway.config.read_text()
        .replace("retries: 1 ", "retries: &r 1 ")
        .replace("  spare: {", "  spare: {retries: *r, ")
    )
    gateway.config.write_text(text)
    assert gateway.post("/v1/config/reload", None).status == 200
    answer = put(gateway, "/v1/routing-policies/steady", {"retries": 2})
    assert refusal(answer) == (409, "EDIT_REFUSED")
    (place,) = answer.json()["error"]["details"]
    assert place["line"] == next(at for at, line in enumerate(text.splitlines(), 1) if "&r" in line)
    assert place["hint"]
    assert gateway.config.read_text() == text


def test_each_change_leaves_a_line_in_the_log_that_names_who_and_what(gateway: Gateway) -> None:
    headers = {"X-Request-ID": f"writes-{time.monotonic_ns()}"}
    body = {"api_key": "${env:OTHER_KEY:-none}"}
    done = data(gateway.request("PUT", "/v1/providers/up", body, headers=headers))
    line = _logged(gateway, headers["X-Request-ID"])
    assert line["user_id"] == "default:admin"
    assert line["entries"] == ["providers.up.api_key"]
    assert (line["changes"], line["generation"]) == (done["changes"], done["generation"])
    assert data(gateway.get("/v1/config"))["changed_by"] == "default:admin"


def _logged(gateway: Gateway, request_id: str) -> dict[str, Any]:
    end = time.monotonic() + 5
    while time.monotonic() < end:
        for line in gateway.log_lines():
            if line["event"] == "config_changed" and line["request_id"] == request_id:
                return line
        time.sleep(0.05)
    raise AssertionError("no such line came")


def test_a_server_may_forbid_it(tmp_path: Path) -> None:
    text = YAML.replace("include: [conf.d/*.yaml]\n", "server:\n  config_writable: false\n")
    with running(text, tmp_path) as gateway:
        before = gateway.config.read_text()
        answer = put(gateway, "/v1/backends/demo:one", {"enabled": False})
        assert refusal(answer) == (403, "CONFIG_NOT_WRITABLE")
        assert "server.config_writable" in said(answer)
        assert data(gateway.get("/v1/routing-policies/steady"))["retries"] == 1
        assert gateway.config.read_text() == before
        gateway.config.write_text(before.replace("config_writable: false", "config_writable: true"))
        assert data(gateway.post("/v1/config/reload", None))["restart_needed"] == []
        assert data(put(gateway, "/v1/backends/demo:one", {"enabled": False}))["enabled"] is False
