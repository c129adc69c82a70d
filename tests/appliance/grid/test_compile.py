"""What the YAML means: names become objects, defaults are filled in, ids are stable."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from appliance.grid.compile import EVERYTHING, budgets, compile_grid, key_id_of, people, recompile_tenants
from appliance.grid.conditions import Facts
from appliance.grid.grid import Breaker, Fallback, Hedge, Policy, Queue
from appliance.grid.prices import NANO, Price, Rates
from appliance.grid.tenants import allowed
from appliance.limits import Budget, Limits
from appliance.people import ADMIN_USER_ID, Overlay
from appliance.people import Partner as MadePartner
from appliance.people import Tenant as MadeTenant
from appliance.providers.capabilities import RESPONSES_LACKS, lacks
from support.build import grid_of_targets, load_yaml, make_grid

KEY = "sgk_0123456789abcdefghijklmnop"
DIGEST = hashlib.sha256(KEY.encode()).hexdigest()


def priorities(policy: Policy) -> list[tuple[str, int, int]]:
    return [(target.backend, target.priority, target.weight) for target in policy.targets]


# -- routing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "strategy", "expected"),
    [
        (["a:x", "b:x"], "priority", [("a:x", 1, 1), ("b:x", 2, 1)]),
        (["a:x", "b:x"], "weighted", [("a:x", 1, 1), ("b:x", 1, 1)]),
        (
            ['{backend: "a:x", priority: 5}', "b:x", '{backend: "c:x", priority: 0}'],
            "priority",
            [("c:x", 0, 1), ("b:x", 1, 1), ("a:x", 5, 1)],
        ),
        (['{backend: "a:x", weight: 3}', "b:x"], "priority", [("a:x", 1, 3), ("b:x", 1, 1)]),
        (['{backend: "a:x", weight: 0}', "b:x"], "weighted", [("a:x", 1, 0), ("b:x", 1, 1)]),
        (
            ['{backend: "a:x", priority: 2}', '{backend: "b:x", priority: 1, weight: 7}'],
            "weighted",
            [("b:x", 1, 7), ("a:x", 2, 1)],
        ),
    ],
)
def test_priorities_and_weights(targets: list[str], strategy: str, expected: list[tuple[str, int, int]]) -> None:
    policy = grid_of_targets(*targets, policy=f"strategy: {strategy}").models["m"].policy
    assert priorities(policy) == expected
    assert [{target.priority for target in tier} for tier in policy.tiers] == [
        {level} for level in sorted({priority for _, priority, _ in expected})
    ]


def test_a_target_without_a_cost_costs_what_the_model_is_priced_at() -> None:
    first, second = make_grid().models["m"].policy.targets
    assert first.cost == Price(
        Rates(500_000_000, 600_000_000, 500_000_000, 500_000_000, 600_000_000), written=frozenset({"input", "output"})
    )
    assert second.cost == make_grid().models["m"].price
    assert second.cost == Price(
        Rates(1_000_000_000, 2_000_000_000, 100_000_000, 1_250_000_000, 2_000_000_000),
        written=frozenset({"input", "output", "cached_input", "cache_write"}),
    )


def test_what_is_not_priced_by_itself_costs_what_it_is_a_part_of() -> None:
    rates = Rates(3_000_000_000, 15_000_000_000, 3_000_000_000, 3_000_000_000, 15_000_000_000)
    assert make_grid().models["claude"].price == Price(rates, written=frozenset({"input", "output"}))


def test_a_price_has_its_classes_tiers_and_fee() -> None:
    grid = make_grid(
        """
providers: {p: {type: demo}}
models:
  m:
    price:
      input: "1"
      output: "2"
      cached_input: "3"
      cache_write: "4"
      reasoning: "5"
      request: "0.000000006"
      tiers: [{above: 100, input: "7", output: "8"}, {above: 200, input: "9", output: "10", reasoning: "11"}]
    route: [{backend: "p:x", cost: {input: "1", output: "1", request: "12"}}]
"""
    )
    model = grid.models["m"]
    assert model.price == Price(
        Rates(NANO, 2 * NANO, 3 * NANO, 4 * NANO, 5 * NANO),
        (
            Rates(7 * NANO, 8 * NANO, 7 * NANO, 7 * NANO, 8 * NANO, above=100),
            Rates(9 * NANO, 10 * NANO, 9 * NANO, 9 * NANO, 11 * NANO, above=200),
        ),
        request=6,
        written=frozenset({"input", "output", "cached_input", "cache_write", "reasoning", "request", "tiers"}),
    )
    written = frozenset({"input", "output", "request"})
    assert model.policy.targets[0].cost == Price(Rates(*[NANO] * 5), request=12 * NANO, written=written)


def test_an_automatic_price_is_that_of_the_library() -> None:
    grid = make_grid(
        """
providers: {real: {type: openai, api_key: sk-test-0123456789}}
models: {m: {price: auto, route: [{backend: "real:gpt-4o-mini"}]}}
"""
    )
    model = grid.models["m"]
    assert model.price.base.input > 0
    assert model.price.written == EVERYTHING
    assert model.policy.targets[0].cost == model.price


def test_a_free_target_costs_nothing() -> None:
    grid = grid_of_targets('{backend: "a:x", cost: free}')
    assert grid.models["m"].policy.targets[0].cost == Price(written=EVERYTHING)


def test_work_that_is_no_chat_is_priced_by_its_piece() -> None:
    grid = make_grid(
        """
providers: {p: {type: demo}}
models:
  pictures: {modality: image, price: {image: "0.04"}, route: [{backend: "p:x"}]}
  words: {modality: audio, price: {audio_minute: "0.006", characters: "15"}, route: [{backend: "p:x"}]}
  order: {modality: rerank, price: {search: "0.002"}, route: [{backend: "p:x"}]}
"""
    )
    prices = {name: model.price for name, model in grid.models.items()}
    assert prices == {
        "pictures": Price(image=NANO // 25, written=frozenset({"image"})),
        "words": Price(audio_minute=6_000_000, characters=15 * NANO, written=frozenset({"audio_minute", "characters"})),
        "order": Price(search=2_000_000, written=frozenset({"search"})),
    }


def test_a_price_that_nobody_wrote_is_not_one_of_nothing() -> None:
    """`image: "0"` is a price; no word about pictures is none, and such calls are not for sale."""
    grid = make_grid(
        """
providers: {p: {type: demo}}
models:
  silent: {price: {input: "1", output: "2"}, route: [{backend: "p:x"}]}
  generous: {price: {input: "1", output: "2", image: "0"}, route: [{backend: "p:x"}]}
"""
    )
    silent, generous = grid.models["silent"].price, grid.models["generous"].price
    assert (silent.image, generous.image) == (0, 0)
    assert "image" not in silent.written
    assert "image" in generous.written


# -- what a target lacks ----------------------------------------------------------------------------------------------


def lacks_of(provider: str, target: str = '"p:some-model"') -> frozenset[str]:
    grid = make_grid(
        f"providers: {{p: {{{provider}}}}}\nmodels: {{m: {{price: free, route: [{{backend: {target}}}]}}}}\n"
    )
    (only,) = grid.models["m"].policy.targets
    return only.lacks


OPENAI = "type: openai, api_key: sk-test-0123456789"
CUSTOM = "type: custom, base_url: 'http://up.test/v1'"


def test_a_target_lacks_what_its_row_says() -> None:
    assert {"top_k", "prefill"} <= lacks_of(OPENAI, '"p:gpt-4o"')
    assert "tools" not in lacks_of(OPENAI, '"p:gpt-4o"')
    assert "temperature" in lacks_of(OPENAI, '"p:o3"')
    assert lacks_of("type: demo") == frozenset(lacks("demo", "some-model"))


def test_the_operator_s_word_about_a_target_wins() -> None:
    plain = lacks_of(CUSTOM)
    assert "tools" not in plain
    said = lacks_of(CUSTOM, '"p:some-model", capabilities: {tools: false}')
    assert {"tools", "tool_choice", "parallel_tool_calls"} <= said
    assert "temperature" not in lacks_of(OPENAI, '"p:o3", capabilities: {temperature: true}')


@pytest.mark.parametrize("feature", sorted(RESPONSES_LACKS))
def test_the_responses_api_has_no_word_for_some_features(feature: str) -> None:
    both = f"{OPENAI}, api: responses"
    assert feature in lacks_of(both, '"p:gpt-4o"')
    assert feature not in lacks_of(both, f'"p:gpt-4o", capabilities: {{{feature}: true}}')
    assert feature in lacks_of(both, f'"p:gpt-4o", capabilities: {{{feature}: false}}')
    assert RESPONSES_LACKS - lacks_of(f"{OPENAI}, api: chat", '"p:gpt-4o"')


def test_api_responses_changes_the_dialect_and_the_url() -> None:
    grid = make_grid(
        f"providers:\n  chat: {{{OPENAI}}}\n  new: {{{OPENAI}, api: responses}}\n"
        "  pplx: {type: perplexity, api_key: pplx-0123456789}\n"
    )
    chat, new, pplx = (grid.endpoints[name] for name in ("chat", "new", "pplx"))
    assert (chat.dialect, new.dialect, pplx.dialect) == ("openai", "responses", "responses")
    assert chat.url("chat") == "https://api.openai.com/v1/chat/completions"
    assert new.url("chat") == "https://api.openai.com/v1/responses"
    assert pplx.url("chat") == "https://api.perplexity.ai/v1/responses"
    assert new.url("embed") == chat.url("embed") == "https://api.openai.com/v1/embeddings"


def test_an_upstream_model_may_hold_colons() -> None:
    (target,) = grid_of_targets("a:hf:org/model:7b").models["m"].policy.targets
    assert (target.endpoint.name, target.upstream_model, target.backend) == (
        "a",
        "hf:org/model:7b",
        "a:hf:org/model:7b",
    )


def test_a_shared_policy_takes_each_model_s_own_price_as_cost() -> None:
    grid = make_grid(
        """
providers: {p: {type: demo}}
routing_policies: {both: {targets: [{backend: "p:x"}], retries: 7, deadline: 90s, retry_on: [connect]}}
models:
  cheap: {price: {input: "1", output: "2"}, route: both}
  dear: {price: {input: "10", output: "20"}, route: both}
"""
    )
    cheap, dear = grid.models["cheap"].policy, grid.models["dear"].policy
    assert (cheap.targets[0].cost.base.input, dear.targets[0].cost.base.input) == (1_000_000_000, 10_000_000_000)
    assert (cheap.name, cheap.retries, cheap.deadline_s, cheap.retry_on) == ("both", 7, 90.0, frozenset({"connect"}))
    assert cheap.targets[0].endpoint is dear.targets[0].endpoint


def test_a_policy_that_says_nothing_has_a_breaker_and_neither_hedges_nor_sticks() -> None:
    policy = grid_of_targets("a:x").models["m"].policy
    assert (policy.breaker, policy.hedge, policy.sticky, policy.explore) == (Breaker(5, 30.0, 15.0), None, "none", 0.05)
    assert policy.targets[0].when is None


def test_a_policy_takes_what_is_written() -> None:
    written = "circuit_breaker: {failures: 2, cooldown: 1m}, hedge: {percentile: 90, max_share: 0.5}, sticky: user"
    policy = grid_of_targets("a:x", policy=f"strategy: latency, explore: 0.1, {written}").models["m"].policy
    assert (policy.strategy, policy.explore, policy.sticky) == ("latency", 0.1, "user")
    assert (policy.breaker, policy.hedge) == (Breaker(2, 30.0, 60.0), Hedge(90, 0.2, 0.5))


def test_a_breaker_can_be_switched_off_and_a_hedge_on() -> None:
    policy = grid_of_targets("a:x", "b:x", policy="circuit_breaker: off, hedge: true").models["m"].policy
    assert (policy.breaker, policy.hedge) == (None, Hedge(95, 0.2, 0.05))


def test_a_condition_is_compiled() -> None:
    grid = grid_of_targets('{backend: "a:x", when: {tenants: ["ac*"], input_tokens: {max: 5}}}', "b:x")
    condition = grid.models["m"].policy.targets[0].when
    assert condition
    assert condition.holds(Facts(tenant="acme", input_tokens=5))
    assert condition.unmet(Facts(tenant="beta", input_tokens=5)) == "the tenant is not ac*"
    assert condition.unmet(Facts(tenant="acme", input_tokens=6)) == "the input is longer than 5 tokens"


@pytest.mark.parametrize("strategy", ["latency", "cost"])
def test_a_plain_list_is_no_order_for_strategies_that_make_their_own(strategy: str) -> None:
    policy = grid_of_targets("a:x", "b:x", policy=f"strategy: {strategy}").models["m"].policy
    assert priorities(policy) == [("a:x", 1, 1), ("b:x", 1, 1)]


def test_fallbacks_are_names_of_models() -> None:
    grid = make_grid(
        """
providers: {p: {type: demo}}
models:
  small: {price: free, fallback: {context_window: large}, route: [{backend: "p:x"}]}
  large: {price: free, route: [{backend: "p:x"}]}
"""
    )
    assert grid.models["small"].fallback == Fallback("large", "")
    assert grid.models["large"].fallback == Fallback()


# -- models and endpoints ---------------------------------------------------------------------------------------------


def test_a_model_has_what_the_operator_wrote_and_defaults_for_the_rest() -> None:
    grid = make_grid(
        """
providers: {p: {type: demo}}
models:
  full:
    display_name: Full
    description: Everything
    context_window: 1000
    max_output_tokens: 100
    price: free
    default_params: {temperature: 0.5, stop: END}
    system_prompt: Be brief.
    status: deprecated
    route: [{backend: "p:x"}]
  bare: {price: free, route: [{backend: "p:x"}]}
"""
    )
    full, bare = grid.models["full"], grid.models["bare"]
    assert (full.display_name, full.description, full.context_window, full.max_output_tokens, full.status) == (
        "Full",
        "Everything",
        1000,
        100,
        "deprecated",
    )
    assert dict(full.default_params) == {"temperature": 0.5, "stop": ["END"]}
    assert full.system_prompt == "Be brief."
    assert (bare.display_name, bare.description, bare.context_window, bare.max_output_tokens, bare.system_prompt) == (
        "bare",
        "",
        None,
        None,
        None,
    )
    assert (bare.status, bare.modality, bare.policy.name) == ("active", "chat", "bare")


def test_the_grid_says_where_it_comes_from() -> None:
    loaded = load_yaml("server: {body_limit: 3MB}\nproviders: {p: {type: demo}}\n")
    grid = compile_grid(loaded, generation=17)
    assert (grid.generation, grid.hash, grid.body_limit) == (17, loaded.hash, 3_000_000)
    assert set(grid.endpoints) == {"p"}


def test_an_unconfigured_provider_says_why() -> None:
    loaded = load_yaml('providers: {p: {type: openai, api_key: "${env:NO_SUCH}"}}\n')
    assert compile_grid(loaded, 1).endpoints["p"].unconfigured == "environment variable NO_SUCH is not set"


def test_each_provider_has_a_queue_and_those_that_ask_for_it_are_probed() -> None:
    grid = make_grid(
        """
providers:
  usual: {type: demo}
  small: {type: custom, base_url: "http://x.test/v1", max_connections: 2, queue: {size: 5, wait: 1s}, probe: {}}
"""
    )
    assert grid.queues == {"usual": Queue(256, 100, 30.0), "small": Queue(2, 5, 1.0)}
    assert grid.probes == {"small": 30.0}


# -- tenants ----------------------------------------------------------------------------------------------------------

TENANTS = """
providers: {p: {type: demo}}
models:
  gpt-4: {price: free, route: [{backend: "p:x"}]}
  gpt-5: {price: free, route: [{backend: "p:x"}]}
  claude: {price: free, route: [{backend: "p:x"}], status: disabled}
partners:
  one:
    tenants:
      all: {display_name: Everything}
      some: {models: ["gpt-*"], status: suspended}
      none: {models: []}
      named: {models: ["claude", "nothing-like-it"]}
      letters: {models: ["gpt-[45]", "GPT-4", "?laude"]}
"""


@pytest.mark.parametrize(
    ("tenant", "models"),
    [
        ("default", {"gpt-4", "gpt-5", "claude"}),
        ("all", {"gpt-4", "gpt-5", "claude"}),
        ("some", {"gpt-4", "gpt-5"}),
        ("none", set()),
        ("named", {"claude"}),
        ("letters", {"gpt-4", "gpt-5", "claude"}),
    ],
)
def test_globs_say_which_models_a_tenant_may_use(tenant: str, models: set[str]) -> None:
    assert make_grid(TENANTS).tenants[tenant].models == models


def test_globs_mind_capitals() -> None:
    assert allowed(["gpt-4", "GPT-4"], ["GPT*"]) == ["GPT-4"]


def test_a_tenant_has_its_partner_name_and_status() -> None:
    tenants = make_grid(TENANTS).tenants
    assert (tenants["some"].partner_id, tenants["some"].suspended, tenants["some"].display_name) == (
        "one",
        True,
        "some",
    )
    assert (tenants["all"].suspended, tenants["all"].display_name) == (False, "Everything")


def test_the_default_tenant_exists_unwritten_and_may_use_everything() -> None:
    tenant = make_grid("providers: {p: {type: demo}}\n").tenants["default"]
    assert (tenant.id, tenant.partner_id, tenant.suspended) == ("default", "default", False)


def test_the_default_tenant_may_be_written_down_and_then_holds_what_is_written() -> None:
    grid = make_grid(
        'providers: {p: {type: demo}}\nmodels: {a: {price: free, route: [{backend: "p:x"}]}}\n'
        "partners: {default: {tenants: {default: {models: [], display_name: Ours}}}}\n"
    )
    tenant = grid.tenants["default"]
    assert (tenant.models, tenant.display_name, tenant.partner_id) == (frozenset(), "Ours", "default")


def test_a_tenant_has_its_weight_also_after_others_were_made_at_run_time() -> None:
    text = """
providers: {p: {type: demo}}
partners: {one: {tenants: {heavy: {weight: 7}, usual: {}}}}
"""
    loaded = load_yaml(text)
    overlay = Overlay({}, {"made": MadeTenant("made", "one")})
    for grid in (compile_grid(loaded, 1, overlay), recompile_tenants(make_grid(text), loaded, 2, overlay)):
        weights = {name: tenant.weight for name, tenant in grid.tenants.items()}
        assert weights == {"default": 1, "heavy": 7, "usual": 1, "made": 1}


# -- people -----------------------------------------------------------------------------------------------------------


def test_the_admin_always_exists() -> None:
    users, keys = people(load_yaml("providers: {p: {type: demo}}\n"))
    assert [(user.id, user.roles, user.tenant_id, user.partner_id) for user in users] == [
        (ADMIN_USER_ID, ("super_admin",), "default", "default")
    ]
    assert keys == []


def test_users_and_keys_have_ids_that_do_not_change_and_know_where_they_are_declared() -> None:
    text = f"""
partners:
  reseller:
    tenants:
      acme:
        users:
          alice:
            email: alice@acme.example
            roles: [tenant_admin, partner_viewer]
            api_keys:
              - {{name: laptop, key: {KEY}, expires_at: 2030-01-01}}
              - {{name: build, sha256: {"AB" * 32}}}
          bob: {{display_name: Bob B., status: suspended}}
"""
    users, keys = people(load_yaml(text))
    again_users, again_keys = people(load_yaml("# moved down a line\n" + text))
    alice, bob = users[1:]
    assert (alice.id, alice.name, alice.tenant_id, alice.partner_id) == ("acme:alice", "alice", "acme", "reseller")
    assert (alice.roles, alice.email, alice.display_name) == (
        ("tenant_admin", "partner_viewer"),
        "alice@acme.example",
        "alice",
    )
    assert (bob.status, bob.display_name, bob.roles) == ("suspended", "Bob B.", ("tenant_user",))
    assert Path(alice.declared.rpartition(":")[0]).name == "scaigrid.yaml"
    assert alice.declared.endswith(":8")
    assert [user.id for user in users] == [user.id for user in again_users]
    assert [key.id for key in keys] == [key.id for key in again_keys]
    laptop, build = keys
    assert (laptop.digest, laptop.user_id, laptop.name, laptop.prefix) == (DIGEST, "acme:alice", "laptop", KEY[:8])
    assert laptop.expires_unix == 1_893_456_000
    assert (build.digest, build.expires_unix, build.prefix) == ("ab" * 32, None, "sgk_")
    assert laptop.id == f"apikey_{DIGEST[:16]}"
    assert KEY not in repr(keys)
    assert KEY not in repr(users)


# -- limits and budgets -----------------------------------------------------------------------------------------------

LIMITED = f"""
server: {{unauthenticated_rate_limits: {{requests_per_minute: 7}}}}
providers: {{p: {{type: demo}}}}
models: {{m: {{price: {{input: "1", output: "2"}}, route: [{{backend: "p:x"}}]}}}}
partners:
  reseller:
    budgets: [{{period: monthly, cost_limit: "100"}}]
    tenants:
      acme:
        user_rate_limits: {{requests_per_minute: 20, tokens_per_minute: 5000}}
        key_rate_limits: {{concurrent_requests: 3}}
        budgets:
          - {{period: daily, cost_limit: "10", timezone: Europe/Amsterdam, soft_limit_pct: 0.555}}
          - {{period: daily, request_limit: 1000, hard_action: notify}}
          - {{period: total, token_limit: 5000000, name: for ever}}
        groups:
          sales: {{users: [alice, bob], budgets: [{{period: weekly, cost_limit: "1"}}]}}
          everybody: {{users: [alice]}}
        users:
          alice:
            rate_limits: {{requests_per_minute: 30}}
            budgets: [{{period: daily, cost_limit: "2", hard_action: throttle}}]
            api_keys:
              - {{name: laptop, key: {KEY}, rate_limits: {{concurrent_requests: unlimited}}}}
              - {{name: build, sha256: {"AB" * 32}, budgets: [{{period: daily, token_limit: 5000000}}]}}
          bob: {{}}
"""


def test_own_limits_are_those_of_users_and_keys_that_write_some_and_inherit_the_rest() -> None:
    grid = make_grid(LIMITED)
    assert dict(grid.own_limits) == {
        "user:acme:alice": Limits(30, 5000, None),
        f"key:{key_id_of(DIGEST)}": Limits(60, None, None),
    }
    assert grid.tenants["acme"].key_limits == Limits(60, None, 3)
    assert grid.unauthenticated == Limits(7, None, None)


def test_without_a_word_guessers_have_the_documented_limit() -> None:
    assert make_grid().unauthenticated == Limits(60)
    assert dict(make_grid().own_limits) == {}


def test_budgets_have_ids_made_of_names_and_know_where_they_are_declared() -> None:
    found = {budget.id: budget for budget in budgets(load_yaml(LIMITED))}
    key = f"key:apikey_{'ab' * 8}"
    assert list(found) == [
        "partner:reseller:monthly",
        "tenant:acme:daily",
        "tenant:acme:daily.2",
        "tenant:acme:for ever",
        "group:acme:sales:weekly",
        "user:acme:alice:daily",
        f"{key}:daily",
    ]
    lines = ("version: 1\n" + LIMITED).splitlines()
    assert all(budget.declared for budget in found.values())
    for budget in found.values():
        line = lines[int(budget.declared.rpartition(":")[2]) - 1]
        assert budget.period in line, (budget, line)
    daily = found["tenant:acme:daily"]
    assert daily == Budget(
        id="tenant:acme:daily",
        scope="tenant",
        subject="tenant:acme",
        period="daily",
        timezone="Europe/Amsterdam",
        cost_limit=10 * NANO,
        soft_ppm=555_000,
        declared=daily.declared,
    )
    second = found["tenant:acme:daily.2"]
    assert (second.request_limit, second.cost_limit, second.hard_action) == (1000, None, "notify")
    assert (found["tenant:acme:for ever"].name, found["tenant:acme:for ever"].token_limit) == ("for ever", 5_000_000)
    assert [budget.subject for budget in found.values()][-3:] == ["group:acme:sales", "user:acme:alice", key]


def test_a_budget_keeps_its_id_when_another_subject_gets_one() -> None:
    """Balances are found by it again after a restart."""
    before = {budget.id for budget in budgets(load_yaml(LIMITED))}
    more = LIMITED.replace("          bob: {}", "          bob: {budgets: [{period: daily, request_limit: 5}]}")
    after = {budget.id for budget in budgets(load_yaml(more))}
    assert after - before == {"user:acme:bob:daily"}
    assert before - after == set()


def test_users_know_their_groups() -> None:
    users, _ = people(load_yaml(LIMITED))
    assert {user.name: user.groups for user in users} == {
        "admin": (),
        "alice": ("everybody", "sales"),
        "bob": ("sales",),
    }


# -- tenants that were made at run time -------------------------------------------------------------------------------

MADE = Overlay(
    {"made": MadePartner("made")},
    {"new": MadeTenant("new", "made", models=("m",), rate_limits={"requests_per_minute": 9})},
)


def test_tenants_made_at_run_time_stand_beside_those_of_the_yaml() -> None:
    loaded = load_yaml(LIMITED)
    grid = compile_grid(loaded, 1, MADE)
    assert set(grid.tenants) == {"default", "acme", "new"}
    new = grid.tenants["new"]
    assert (new.partner_id, new.models, new.limits) == ("made", frozenset({"m"}), Limits(9))


def test_a_change_of_tenants_leaves_models_and_endpoints_as_they_are() -> None:
    loaded = load_yaml(LIMITED)
    old = compile_grid(loaded, 1)
    new = recompile_tenants(old, loaded, 2, MADE)
    assert (new.generation, set(new.tenants), set(old.tenants)) == (2, {"default", "acme", "new"}, {"default", "acme"})
    assert new.models is old.models
    assert new.endpoints is old.endpoints
    assert new.own_limits == old.own_limits


def test_compiling_twice_gives_the_same_meaning() -> None:
    loaded = load_yaml(TENANTS)
    one, two = compile_grid(loaded, 1), compile_grid(loaded, 1)
    assert {name: priorities(model.policy) for name, model in one.models.items()} == {
        name: priorities(model.policy) for name, model in two.models.items()
    }
    assert one.hash == two.hash
