"""The file is the console: what is written to it is in force within a second, whole or not at all, and calls go on."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.appliance import Gateway, running
from support.cli import scaigrid
from support.people import call, chat, data, delete, key_for, new_tenant, new_user, refusal
from support.sse import ended, failure_of, text_of
from support.tenancy import key_of
from support.upstream import Upstream, completion
from support.wire import Wire, request_bytes

SOON_S = 1.0
UMA, ADA, BEN = key_of("acme", "uma"), key_of("acme", "ada"), key_of("acme", "ben")
EXTRA = '  extra: {price: free, route: [{backend: "demo:x"}]}\n'


def yaml(
    *, models: str = "", users: str = "", tenants: str = "", server: str = "", top: str = "", key: str = "one"
) -> str:
    return f"""
server:
  unauthenticated_rate_limits: {{requests_per_minute: unlimited}}
{server}
{top}
providers:
  demo: {{type: demo}}
  up: {{type: custom, base_url: "{UPSTREAM.url}/v1", api_key: "upstream-key-{key}"}}
models:
  open: {{price: free, route: [{{backend: "demo:x"}}]}}
  up: {{price: free, route: [{{backend: "up:m"}}]}}
{models}
partners:
  north:
    rate_limits: {{requests_per_minute: unlimited}}
    tenants:
      acme:
        rate_limits: {{requests_per_minute: unlimited}}
        user_rate_limits: {{requests_per_minute: unlimited}}
        key_rate_limits: {{requests_per_minute: unlimited}}
        users:
          uma: {{api_keys: [{{key: "{UMA}"}}]}}
{users}
{tenants}
"""


FLOWING = '  flowing: {price: free, route: [{backend: "demo:x,pace=20ms,tokens=100000"}]}\n'
UPSTREAM = Upstream()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with UPSTREAM, running(yaml(), tmp_path_factory.mktemp("reload")) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared: Gateway) -> Gateway:
    """The shared appliance with the plain configuration in force."""
    shared.write(yaml())
    reloaded(shared)
    return shared


def reloaded(gateway: Gateway) -> Any:
    return data(gateway.post("/v1/config/reload", None))


def state(gateway: Gateway) -> Any:
    return data(gateway.get("/v1/config"))


def within(seconds: float, condition: Callable[[], object]) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come in time"
        time.sleep(0.02)


def serves(gateway: Gateway, model: str) -> bool:
    return call(gateway, UMA, model) == 200


# -- the file is watched ----------------------------------------------------------------------------------------------


def in_place(path: Path, text: str) -> None:
    path.write_text(text)


def in_two_steps(path: Path, text: str) -> None:
    path.write_text("")
    time.sleep(0.15)
    path.write_text(text)


def by_replacement(path: Path, text: str) -> None:
    new = path.with_name(".scaigrid.yaml.tmp")
    new.write_text(text)
    new.replace(path)


def by_another_link(path: Path, text: str) -> None:
    """A symlink that comes to point elsewhere, to a folder beside it."""
    folder = path.parent / f"release-{time.monotonic_ns()}"
    folder.mkdir()
    (folder / path.name).write_text(text)
    link = path.with_name("link.tmp")
    link.symlink_to(folder / path.name)
    link.replace(path)


def through_the_link(path: Path, text: str) -> None:
    """The link stays; the file that it leads to, in another folder, is written."""
    if not path.is_symlink():
        by_another_link(path, path.read_text())
        time.sleep(0.5)
    path.resolve().write_text(text)


def by_config_map(path: Path, text: str) -> None:
    """As Kubernetes does: FILE → ..data/FILE, and `..data` is another link that is replaced."""
    data_link = path.parent / "..data"
    for _ in range(2):  # the first time puts the links there, the second one is the swap
        folder = path.parent / f"..{time.monotonic_ns()}"
        folder.mkdir()
        (folder / path.name).write_text(text if path.is_symlink() else path.read_text())
        made = path.parent / "..data_tmp"
        made.symlink_to(folder.name)
        made.replace(data_link)
        if path.is_symlink():
            break
        path.unlink()
        path.symlink_to(Path("..data") / path.name)
        time.sleep(0.5)


WAYS = [in_place, in_two_steps, by_replacement, by_another_link, through_the_link, by_config_map]


@pytest.mark.parametrize("way", WAYS)
def test_what_is_written_is_in_force_within_a_second(gateway: Gateway, way: Callable[[Path, str], None]) -> None:
    before, plain = state(gateway), gateway.config.read_text()
    try:
        way(gateway.config, plain.replace("models:\n", f"models:\n{EXTRA}"))
        within(SOON_S, lambda: serves(gateway, "extra"))
        after = state(gateway)
        assert after["generation"] > before["generation"]
        assert after["hash"] != before["hash"]
        assert after["problems"] == []
        assert after["loaded_at"] > before["loaded_at"]
    finally:
        gateway.config.unlink()
        gateway.config.write_text(plain)
        within(3, lambda: not serves(gateway, "extra"))


def test_included_files_and_files_of_secrets_are_watched_too(gateway: Gateway) -> None:
    included, secret = gateway.folder / "conf.d", gateway.folder / "secrets" / "up.key"
    secret.parent.mkdir()
    secret.write_text("upstream-key-from-file\n")
    included.mkdir()
    UPSTREAM.answer(lambda call: call.reply(200, completion("hi")))
    text = yaml(top="include: [conf.d/*.yaml]").replace('"upstream-key-one"', '"${file:secrets/up.key}"')
    gateway.write(text)
    reloaded(gateway)
    (included / "more.yaml").write_text(f"models:\n{EXTRA}")
    within(SOON_S, lambda: serves(gateway, "extra"))
    (included / "more.yaml").write_text(f"models:\n{EXTRA.replace('extra', 'other')}")
    within(SOON_S, lambda: serves(gateway, "other") and not serves(gateway, "extra"))
    (included / "more.yaml").unlink()
    within(SOON_S, lambda: not serves(gateway, "other"))
    assert serves(gateway, "up")
    assert UPSTREAM.calls[-1].headers["authorization"] == "Bearer upstream-key-from-file"
    secret.write_text("upstream-key-renewed\n")

    def renewed() -> bool:
        assert serves(gateway, "up")
        return UPSTREAM.calls[-1].headers["authorization"] == "Bearer upstream-key-renewed"

    within(SOON_S, renewed)


def test_a_file_that_was_missing_is_taken_up_when_it_comes(gateway: Gateway) -> None:
    wanted = gateway.folder / "later" / "up.key"
    wanted.parent.mkdir()
    gateway.write(yaml(models=EXTRA).replace('"upstream-key-one"', '"${file:later/up.key}"'))
    within(SOON_S, lambda: state(gateway)["problems"])
    assert not serves(gateway, "extra")
    wanted.write_text("upstream-key-late\n")
    within(2 * SOON_S, lambda: serves(gateway, "extra"))
    assert state(gateway)["problems"] == []


def test_what_is_written_beside_it_does_not_count(gateway: Gateway) -> None:
    before = state(gateway)
    (gateway.folder / "notes.yaml").write_text("models: {}\n")
    gateway.config.touch()
    time.sleep(0.6)
    assert state(gateway) == before


# -- a broken file ----------------------------------------------------------------------------------------------------

BROKEN = "  broken: {pricee: free}\n"


def failures(gateway: Gateway) -> int:
    lines = gateway.get("/metrics").body.decode().splitlines()
    return int(next(line for line in lines if line.startswith("scaigrid_config_reload_failures_total ")).split()[1])


def test_a_broken_file_changes_nothing_and_says_where_and_why(gateway: Gateway) -> None:
    before, count = state(gateway), failures(gateway)
    good = gateway.config.read_text()
    gateway.config.write_text(good.replace("models:\n", f"models:\n{BROKEN}"))
    within(SOON_S, lambda: state(gateway)["problems"])
    after = state(gateway)
    assert {name: after[name] for name in ("generation", "hash", "loaded_at")} == {
        name: before[name] for name in ("generation", "hash", "loaded_at")
    }
    line = good.splitlines().index("models:") + 2
    problem = next(each for each in after["problems"] if "pricee" in each["message"])
    assert problem == {
        "file": str(gateway.config),
        "line": line,
        "column": 12,
        "message": "unknown key `pricee`",
        "hint": "did you mean `price`?",
    }
    assert failures(gateway) == count + 1
    assert serves(gateway, "open")
    within(1, lambda: f"{gateway.config}:{line}:12: unknown key `pricee`" in gateway.output())

    answer = gateway.post("/v1/config/reload", None)
    assert refusal(answer) == (422, "VALIDATION_ERROR")
    assert answer.json()["error"]["details"] == after["problems"]
    assert failures(gateway) == count + 2

    gateway.config.write_text(good)
    within(SOON_S, lambda: state(gateway)["problems"] == [])
    assert state(gateway)["generation"] == before["generation"], "nothing is new in it"


@pytest.mark.parametrize("content", [b"", b"\0\xff", b"version: 1\nmodels: [\n", b"- a list\n"], ids=repr)
def test_garbage_is_refused_and_the_next_good_file_counts(gateway: Gateway, content: bytes) -> None:
    good = gateway.config.read_text()
    gateway.config.write_bytes(content)
    within(SOON_S, lambda: state(gateway)["problems"])
    assert serves(gateway, "open")
    gateway.config.write_text(good.replace("models:\n", f"models:\n{EXTRA}"))
    within(SOON_S, lambda: serves(gateway, "extra"))


def test_a_file_that_vanishes_changes_nothing(gateway: Gateway) -> None:
    good = gateway.config.read_text()
    gateway.config.unlink()
    within(SOON_S, lambda: state(gateway)["problems"])
    assert serves(gateway, "open")
    gateway.config.write_text(good.replace("models:\n", f"models:\n{EXTRA}"))
    within(SOON_S, lambda: serves(gateway, "extra"))


# -- people -----------------------------------------------------------------------------------------------------------


def stream(wire: Wire, secret: str, model: str = "flowing") -> None:
    wire.send(request_bytes("/v1/inference/chat", chat(model, stream=True), secret, {"Connection": "close"}))
    wire.wait_for(b'"content":')


CUTS = {
    "key removed": "          ada: {}\n",
    "user removed": "",
    "user suspended": f'          ada: {{status: suspended, api_keys: [{{key: "{ADA}"}}]}}\n',
    "key given to another": f'          eve: {{api_keys: [{{key: "{ADA}"}}]}}\n',
}


@pytest.mark.parametrize("how", CUTS)
def test_who_is_taken_out_of_the_file_is_out_in_mid_stream(gateway: Gateway, how: str) -> None:
    gateway.write(yaml(models=FLOWING, users=f'          ada: {{api_keys: [{{key: "{ADA}"}}]}}\n'))
    reloaded(gateway)
    with Wire(gateway.url) as hers, Wire(gateway.url) as another:
        stream(hers, ADA)
        stream(another, UMA)
        gateway.write(yaml(models=FLOWING, users=CUTS[how]))
        assert hers.closed_within(SOON_S + 1), "the stream runs on"
        assert ended(hers.received)
        assert failure_of(hers.received)
        assert call(gateway, ADA) == {"user suspended": 403, "key given to another": 200}.get(how, 401)
        assert not another.closed_within(0.2), "whoever stays is not disturbed"


def test_people_made_at_run_time_stay_and_go_with_their_tenant(gateway: Gateway) -> None:
    home = "      home: {user_rate_limits: {requests_per_minute: unlimited}}\n"
    gateway.write(yaml(tenants=home))
    reloaded(gateway)
    kept, lost = new_user(gateway), new_user(gateway, "home")
    made_tenant = new_tenant(gateway)
    secrets = [key_for(gateway, user) for user in (kept, lost, new_user(gateway, made_tenant))]
    gone = key_for(gateway, new_user(gateway))
    data(delete(gateway, f"/v1/api-keys/{own_key(gateway, gone)}"))
    gateway.write(yaml(models=EXTRA))
    reloaded(gateway)
    assert [call(gateway, secret) for secret in secrets] == [200, 401, 200]
    assert call(gateway, gone) == 401, "a revoked key stays revoked"
    within(1, lambda: "out of service" in gateway.output())
    assert refusal(gateway.post("/v1/tenants", {"slug": "home", "partner_id": "north"})) == (409, "SLUG_CONFLICT")
    assert data(gateway.post("/v1/users", {"name": f"u{time.monotonic_ns()}", "tenant_id": "acme"}))
    assert serves(gateway, "extra"), "a change of people keeps the newest configuration"
    gateway.write(yaml(tenants=home))
    reloaded(gateway)
    assert [call(gateway, secret) for secret in secrets] == [200, 200, 200]


def own_key(gateway: Gateway, secret: str) -> str:
    return str(data(gateway.get("/v1/me", key=secret))["key_id"])


def test_a_user_made_over_the_api_may_take_the_name_that_the_file_gives_up(gateway: Gateway) -> None:
    gateway.write(yaml(users="          zoe: {}\n"))
    reloaded(gateway)
    assert refusal(gateway.post("/v1/users", {"name": "zoe", "tenant_id": "acme"})) == (409, "SLUG_CONFLICT")
    gateway.write(yaml())
    reloaded(gateway)
    assert data(gateway.post("/v1/users", {"name": "zoe", "tenant_id": "acme"}))["id"] == "acme:zoe"


# -- budgets ----------------------------------------------------------------------------------------------------------


def with_budget(text: str) -> str:
    return yaml(users=f'          ben: {{api_keys: [{{key: "{BEN}"}}], budgets: [{text}]}}\n')


def test_a_budget_keeps_what_is_spent_and_its_new_limit_counts_at_once(gateway: Gateway) -> None:
    gateway.write(with_budget(""))
    reloaded(gateway)
    assert [call(gateway, BEN) for _ in range(2)] == [200, 200]
    gateway.write(with_budget("{period: daily, request_limit: 2}"))
    reloaded(gateway)
    assert call(gateway, BEN) == 429, "what was used before the budget was written counts"
    gateway.write(with_budget("{period: daily, request_limit: 3}"))
    reloaded(gateway)
    assert [call(gateway, BEN) for _ in range(2)] == [200, 429]
    gateway.write(with_budget("{period: weekly, name: daily, request_limit: 4}"))
    reloaded(gateway)
    assert [call(gateway, BEN) for _ in range(2)] == [200, 429], "another period is summed up anew"
    gateway.write(with_budget("{period: daily, request_limit: 1, hard_action: notify}"))
    reloaded(gateway)
    assert call(gateway, BEN) == 200
    gateway.write(with_budget(""))
    reloaded(gateway)
    assert gateway.get("/v1/accounting/budgets/user:acme:ben:daily").status == 404
    assert data(gateway.get("/v1/accounting/verify"))["differences"] == []
    assert not [each for each in data(gateway.get("/v1/accounting/budgets"))["items"] if "~" in each["id"]]


def test_a_budget_may_go_while_a_call_holds_something_in_it(gateway: Gateway) -> None:
    gateway.write(with_budget("{period: daily, request_limit: 100}").replace("models:\n", f"models:\n{FLOWING}"))
    reloaded(gateway)
    with Wire(gateway.url) as wire:
        stream(wire, BEN)
        gateway.write(with_budget("").replace("models:\n", f"models:\n{FLOWING}"))
        reloaded(gateway)
        assert not wire.closed_within(0.2)
        wire.hang_up()
    within(3, lambda: gateway.in_flight() == 0)
    assert "fault of ours" not in gateway.output()


# -- models and providers ---------------------------------------------------------------------------------------------


def test_a_model_that_is_removed_in_mid_stream_serves_that_stream_to_its_end(gateway: Gateway) -> None:
    short = '  short: {price: free, route: [{backend: "demo:x,pace=40ms,tokens=40"}]}\n'
    gateway.write(yaml(models=short))
    reloaded(gateway)
    with Wire(gateway.url) as wire:
        stream(wire, UMA, "short")
        gateway.write(yaml())
        assert reloaded(gateway)["generation"]
        assert call(gateway, UMA, "short") == 404
        wire.rest()
    assert ended(wire.received)
    assert failure_of(wire.received) is None
    assert len(text_of(wire.received).split()) > 20


def test_another_upstream_key_is_used_and_the_connection_stays(gateway: Gateway) -> None:
    UPSTREAM.answer(lambda call: call.reply(200, completion("hi")))
    assert serves(gateway, "up")
    gateway.write(yaml(key="two"))
    reloaded(gateway)
    assert serves(gateway, "up")
    one, two = UPSTREAM.calls[-2:]
    assert [each.headers["authorization"] for each in (one, two)] == [
        "Bearer upstream-key-one",
        "Bearer upstream-key-two",
    ]
    assert one._writer is two._writer, "the same warm connection"


def test_a_removed_provider_serves_its_last_call_then_its_connections_are_closed(gateway: Gateway) -> None:
    release = threading.Event()

    async def whole(call: Any) -> None:
        while not release.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        await call.reply(200, completion("late"))

    UPSTREAM.answer(whole)
    answers: list[int] = []
    caller = threading.Thread(target=lambda: answers.append(call(gateway, UMA, "up")))
    count = len(UPSTREAM.calls)
    caller.start()
    within(2, lambda: len(UPSTREAM.calls) > count)
    without = "\n".join(line for line in yaml().splitlines() if not line.startswith("  up:"))
    gateway.write(without)
    reloaded(gateway)
    last = UPSTREAM.calls[-1]
    assert not last.hung_up
    assert call(gateway, UMA, "up") == 404
    release.set()
    caller.join(5)
    assert answers == [200]
    within(2, lambda: last._writer.is_closing() or last._writer.transport.is_closing())


def test_calls_in_flight_over_20_reloads_see_no_error(gateway: Gateway) -> None:
    stop = threading.Event()
    seen: list[int] = []

    def caller() -> None:
        while not stop.is_set():
            seen.append(call(gateway, UMA))

    paced = '  paced: {price: free, route: [{backend: "demo:x,pace=20ms,tokens=150"}]}\n'
    gateway.write(yaml(models=paced))
    reloaded(gateway)
    callers = [threading.Thread(target=caller) for _ in range(3)]
    with Wire(gateway.url, 30) as wire:
        stream(wire, UMA, "paced")
        for thread in callers:
            thread.start()
        first = state(gateway)["generation"]
        for number in range(20):
            broken = number % 2
            gateway.write(yaml(models=paced + (BROKEN if broken else EXTRA.replace("extra", f"extra{number}"))))
            assert gateway.post("/v1/config/reload", None).status == (422 if broken else 200)
        stop.set()
        for thread in callers:
            thread.join(10)
        assert set(seen) == {200}
        assert len(seen) > 20
        assert state(gateway)["generation"] >= first + 10
        wire.rest()
    assert ended(wire.received)
    assert failure_of(wire.received) is None
    assert "fault of ours" not in gateway.output()


# -- the static part, SIGHUP, the command -----------------------------------------------------------------------------


def test_a_static_key_keeps_its_old_value_and_says_so(gateway: Gateway) -> None:
    gateway.write(yaml(models=EXTRA, server="  body_limit: 1MB\n  data_dir: ./elsewhere\n"))
    done = reloaded(gateway)
    assert sorted(done["restart_needed"]) == ["server.body_limit", "server.data_dir"]
    assert serves(gateway, "extra"), "the rest is in force"
    assert not (gateway.folder / "elsewhere").exists()
    assert data(gateway.get("/health/detailed"))["limits"]["body_limit_bytes"] == 20_000_000
    within(1, lambda: "server.data_dir takes effect at the next start" in gateway.output())
    gateway.write(yaml())
    assert reloaded(gateway)["restart_needed"] == []


def test_sighup_reloads(tmp_path: Path) -> None:
    with running("providers: {demo: {type: demo}}\nmodels:\n" + EXTRA, tmp_path) as gateway:
        time.sleep(0.5)
        gateway.config.write_text(gateway.config.read_text() + " ")
        gateway.process.send_signal(signal.SIGHUP)  # before the watcher's quiet time is over
        within(2, lambda: "configuration: generation 2 serves (SIGHUP)" in gateway.output())
        gateway.config.write_text("version: 2\n")
        gateway.process.send_signal(signal.SIGHUP)
        within(2, lambda: "configuration refused (SIGHUP), generation 2 serves on" in gateway.output())
        assert call(gateway, gateway.admin_key, "extra") == 200
        assert gateway.terminate() == 0


def test_the_command_prints_what_changed_or_the_problems(gateway: Gateway) -> None:
    gateway.write(yaml(models=EXTRA))
    done = scaigrid("reload", cwd=gateway.folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "model extra added\n" in done.stdout
    assert f"generation {state(gateway)['generation']} serves" in done.stdout

    gateway.write(yaml(models=BROKEN))
    done = scaigrid("reload", cwd=gateway.folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert "scaigrid.yaml:" in done.stderr
    assert ": unknown key `pricee` (did you mean `price`?)\n" in done.stderr
    flags = ("--url", gateway.url, "--key", gateway.admin_key)
    asked = scaigrid("reload", *flags, cwd=gateway.folder)
    assert asked.returncode == 1
    assert f"{gateway.config}:" in asked.stderr
    assert "serves on" in asked.stderr
    shown = scaigrid("reload", *flags, "--json", cwd=gateway.folder)
    assert shown.returncode == 1
    assert {each["line"] > 1 for each in json.loads(shown.stdout)} == {True}


def test_only_who_may_manage_routing_may_reload(gateway: Gateway) -> None:
    assert refusal(gateway.post("/v1/config/reload", None, key=UMA)) == (403, "AUTHZ_PERMISSION_DENIED")


def test_no_secret_is_in_what_a_reload_tells(gateway: Gateway) -> None:
    gateway.write(yaml(key="secret-three", users=f'          ada: {{api_keys: [{{key: "{ADA}"}}]}}\n'))
    told = json.dumps(reloaded(gateway))
    assert "provider up changed: api_key" in told
    assert "tenant acme: user ada added" in told
    assert "secret-three" not in told + gateway.output()
    assert ADA not in told + gateway.output()
