"""Export, verify, prune: files that are streamed in bounded memory, sums that are checked, rows that may go."""

from __future__ import annotations

import csv
import io
import json
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.state.store import Store
from appliance.state.usage import UsageStore
from support.appliance import Answer, Gateway, running
from support.build import usage_row
from support.cli import scaigrid
from support.wire import Wire, request_bytes

OLD_MS = 1_700_000_000_000
OLD_ROWS = 12_000
NOTE = "x" * 3000
KEYS = {name: f"sgk_{name}-{'k' * 32}" for name in ("ann", "chief", "far")}
YAML = f"""
providers:
  demo: {{type: demo}}
models:
  paid: {{price: {{input: "1", output: "2"}}, route: [{{backend: "demo:a", cost: {{input: "0.5", output: "1"}}}}]}}
partners:
  p:
    tenants:
      t1:
        budgets: [{{period: monthly, cost_limit: "500"}}]
        users:
          ann: {{api_keys: [{{name: k, key: "{KEYS["ann"]}"}}]}}
          chief: {{roles: [tenant_admin], api_keys: [{{name: k, key: "{KEYS["chief"]}"}}]}}
  q:
    tenants:
      t2:
        users:
          far: {{roles: [tenant_admin], api_keys: [{{name: k, key: "{KEYS["far"]}"}}]}}
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """With 40 MB of old rows, and three calls of today."""
    folder = tmp_path_factory.mktemp("files")
    fill(folder / "var")
    with running(YAML, folder) as gateway:
        body = {"model": "paid", "messages": [{"role": "user", "content": "hi"}]}
        for name in ("ann", "ann", "far"):
            assert gateway.post("/v1/inference/chat", body, key=KEYS[name]).status == 200
        yield gateway


def fill(data_dir: Path) -> None:
    data_dir.mkdir(mode=0o700)
    store = Store(data_dir / "scaigrid.db")
    usage = UsageStore(store)
    rows = [
        usage_row(
            f"old{n:05}",
            request_id="=cmd|' /C calc'!A0" if n == 1 else f"-{n}",
            created_ms=OLD_MS + n,
            tenant_id="t1",
            user_id="t1:old",
            model="past",
            metadata=json.dumps({"note": NOTE}),
            entry=n + 1,
        )
        for n in range(OLD_ROWS)
    ]
    store.write(lambda: usage.add(rows)).result(60)
    store.close()


def export(gateway: Gateway, query: str, key: str = "") -> Answer:
    answer = gateway.get(f"/v1/accounting/export?{query}", key=key, timeout_s=60)
    assert answer.status == 200, answer.body[:300]
    return answer


def read(form: str, body: bytes) -> list[dict[str, Any]]:
    if form == "csv":
        return list(csv.DictReader(io.StringIO(body.decode(), newline="")))
    if form == "json":
        return list(json.loads(body))
    return [json.loads(line) for line in body.splitlines()]


# -- export -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "content_type"),
    [("csv", "text/csv; charset=utf-8"), ("json", "application/json"), ("ndjson", "application/x-ndjson")],
)
def test_each_format_holds_the_rows_oldest_first(gateway: Gateway, form: str, content_type: str) -> None:
    answer = export(gateway, f"format={form}&model=paid")
    assert answer.headers["Content-Type"] == content_type
    assert answer.headers["X-Request-ID"]
    day = time.strftime("%Y-%m-%d", time.gmtime())
    assert answer.headers["Content-Disposition"] == f'attachment; filename="scaigrid-usage-{day}.{form}"'
    expected = list(reversed(gateway.usage(model="paid")))
    found = read(form, answer.body)
    assert [row["id"] for row in found] == [row["id"] for row in expected]
    assert [row["cost"] for row in found] == [row["cost"] for row in expected]
    if form == "csv":
        assert [row["stream"] for row in found] == ["false"] * 3
        assert json.loads(found[0]["attempts"]) == expected[0]["attempts"]
    else:
        assert found == expected


def test_a_million_cells_arrive_whole(gateway: Gateway) -> None:
    found = read("csv", export(gateway, "format=csv&model=past").body)
    assert [row["id"] for row in found] == [f"old{n:05}" for n in range(OLD_ROWS)]
    assert json.loads(found[-1]["metadata"]) == {"note": NOTE}


def test_a_spreadsheet_finds_no_formula(gateway: Gateway) -> None:
    old = f"start={iso(OLD_MS + 1)}&end={iso(OLD_MS + 3)}"
    found = read("csv", export(gateway, f"format=csv&{old}").body)
    assert [row["request_id"] for row in found] == ["'=cmd|' /C calc'!A0", "'-2"]
    found = read("ndjson", export(gateway, f"format=ndjson&{old}").body)
    assert found[0]["request_id"] == "=cmd|' /C calc'!A0"


def iso(ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03}"


@pytest.mark.parametrize("form", ["csv", "json", "ndjson"])
def test_an_export_of_nothing_is_a_whole_file(gateway: Gateway, form: str) -> None:
    answer = export(gateway, f"format={form}&model=nothing")
    assert read(form, answer.body) == []
    assert answer.body or form == "ndjson"


def test_one_exports_what_one_may_see(gateway: Gateway) -> None:
    mine = read("ndjson", export(gateway, "format=ndjson", key=KEYS["ann"]).body)
    assert {row["user_id"] for row in mine} == {"t1:ann"}
    tenants = read("ndjson", export(gateway, "format=ndjson&model=paid", key=KEYS["chief"]).body)
    assert {row["tenant_id"] for row in tenants} == {"t1"}
    assert gateway.get("/v1/accounting/export?tenant_id=t1", key=KEYS["far"]).status == 403


@pytest.mark.parametrize("query", ["format=xls", "start=soon", "period=year"])
def test_a_bad_export_is_refused_before_it_begins(gateway: Gateway, query: str) -> None:
    answer = gateway.get(f"/v1/accounting/export?{query}")
    assert (answer.status, answer.json()["error"]["code"]) == (422, "VALIDATION_ERROR")


def test_a_head_request_gets_the_head(gateway: Gateway) -> None:
    answer = gateway.request("HEAD", "/v1/accounting/export")
    assert (answer.status, answer.body) == (200, b"")
    assert "attachment" in answer.headers["Content-Disposition"]


def test_a_reader_who_stops_is_waited_for_and_one_who_leaves_ends_it(gateway: Gateway) -> None:
    """The 40 MB stay in the database: neither the memory nor the work of the appliance grows by what nobody reads."""
    before = memory_kb(gateway)
    with Wire(gateway.url) as wire:
        wire.send(request_bytes("/v1/accounting/export?format=json", b"", gateway.admin_key, method="GET"))
        wire.wait_for(b"old00000")
        time.sleep(0.5)
        busy = cpu_s(gateway)
        time.sleep(0.5)
        assert cpu_s(gateway) - busy < 0.2
        assert memory_kb(gateway) - before < 25_000
        wire._socket.shutdown(socket.SHUT_RDWR)
    time.sleep(0.3)
    busy = cpu_s(gateway)
    time.sleep(0.5)
    assert cpu_s(gateway) - busy < 0.2
    assert "fault of ours" not in gateway.output()


def memory_kb(gateway: Gateway) -> int:
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def cpu_s(gateway: Gateway) -> float:
    fields = Path(f"/proc/{gateway.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


# -- on the command line ----------------------------------------------------------------------------------------------


def test_the_command_writes_to_standard_output_or_to_a_file(gateway: Gateway) -> None:
    done = scaigrid("usage", "export", "--format", "ndjson", "--model", "paid", cwd=gateway.folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(read("ndjson", done.stdout.encode())) == 3
    target = gateway.folder / "out.csv"
    done = scaigrid("usage", "export", "--start", "2023-01-01", "--end", "2024-01-01", "-o", target, cwd=gateway.folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(read("csv", target.read_bytes())) == OLD_ROWS
    assert [path.name for path in gateway.folder.glob(".out*")] == []


def test_a_command_that_is_refused_leaves_no_file(gateway: Gateway) -> None:
    target = gateway.folder / "never.csv"
    done = scaigrid("usage", "export", "--start", "soon", "-o", target, cwd=gateway.folder)
    assert done.returncode == 1
    assert "start" in done.stderr
    assert not target.exists()


def test_verify_says_that_all_is_well(gateway: Gateway) -> None:
    done = scaigrid("usage", "verify", cwd=gateway.folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "1 budgets and all sums agree with the usage rows.\n"
    done = scaigrid("usage", "verify", "--json", cwd=gateway.folder)
    assert json.loads(done.stdout) == {"budgets_checked": 1, "differences": []}


@pytest.mark.parametrize(
    "arguments",
    [
        ("summary", "--format", "csv"),
        ("export", "--by", "model"),
        ("export", "--limit", "3"),
        ("export", "--format", "xls"),
        ("verify", "--model", "paid"),
        ("prune",),
        ("export", "--before", "2024-01-01"),
    ],
)
def test_options_of_another_view_are_wrong_usage(gateway: Gateway, arguments: tuple[str, ...]) -> None:
    done = scaigrid("usage", *arguments, cwd=gateway.folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


# -- pruning ----------------------------------------------------------------------------------------------------------


def test_only_a_super_admin_prunes_and_no_running_period(gateway: Gateway) -> None:
    def prune(before: str, key: str = "") -> Answer:
        return gateway.request("DELETE", f"/v1/accounting/usage?before={before}", key=key)

    assert prune("2023-01-01", KEYS["chief"]).status == 403
    for before in ("", "soon"):
        assert prune(before).status == 422
    tomorrow = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 86_400))
    refused = prune(tomorrow)
    assert refused.status == 422
    assert "tenant:t1:monthly counts them" in refused.json()["error"]["message"]
    total = {"scope": "tenant", "scope_id": "t2", "period": "total", "cost_limit": "1"}
    made = gateway.post("/v1/accounting/budgets", total).json()["data"]
    assert made["id"] in prune("2023-01-01").json()["error"]["message"]
    gateway.request("DELETE", f"/v1/accounting/budgets/{made['id']}")
    assert prune("2023-01-01").json()["data"] == {"deleted": 0, "done": True}


def test_pruned_rows_are_gone_and_their_sums_are_not(tmp_path: Path) -> None:
    fill(tmp_path / "var")
    with running(YAML, tmp_path) as gateway:
        before = gateway.get("/v1/accounting/usage/summary").json()["data"]
        done = scaigrid("usage", "prune", "--before", "2024-01-01", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, f"{OLD_ROWS} usage rows deleted; their sums stay.\n")
        assert gateway.usage() == []
        assert gateway.get("/v1/accounting/usage/summary").json()["data"] == before
        assert before[0]["request_count"] == OLD_ROWS
        assert scaigrid("usage", "verify", cwd=tmp_path).returncode == 0


# -- what is wrong is found -------------------------------------------------------------------------------------------


def test_verify_names_each_difference(tmp_path: Path) -> None:
    """Somebody changes a row behind the appliance's back."""
    with running(YAML, tmp_path) as gateway:
        body = {"model": "paid", "messages": [{"role": "user", "content": "hi"}]}
        for name in ("ann", "far"):
            assert gateway.post("/v1/inference/chat", body, key=KEYS[name]).status == 200
        assert gateway.get("/v1/accounting/verify").json()["data"]["differences"] == []
        cost = gateway.usage(tenant_id="t1")[0]["cost"]
        with sqlite3.connect(gateway.data_dir / "scaigrid.db") as database:
            database.execute("UPDATE usage SET cost_nano = 1 WHERE tenant_id = 't1'")
        database.close()
        found = gateway.get("/v1/accounting/verify").json()["data"]["differences"]
        balance = next(each for each in found if each["what"] == "balance")
        assert (balance["budget_id"], balance["sum"]) == ("tenant:t1:monthly", "cost")
        assert (balance["kept"], balance["by_rows"]) == (cost, "0.000000001")
        assert {each["sum"] for each in found if each["what"] == "rollup"} == {"cost_nano"}
        assert gateway.get("/v1/accounting/verify", key=KEYS["far"]).json()["data"]["differences"] == []
        own = gateway.get("/v1/accounting/verify", key=KEYS["chief"]).json()["data"]["differences"]
        assert [each["sum"] for each in own] == ["cost", "cost_nano"], "of his tenant's rows alone"
        assert own[1]["by_rows"] == "1"
        assert gateway.get("/v1/accounting/verify", key=KEYS["ann"]).status == 403
        done = scaigrid("usage", "verify", cwd=tmp_path)
        assert done.returncode == 1
        assert f"tenant:t1:monthly\tcost\t{cost}\t0.000000001\n" in done.stdout
        assert done.stderr == f"scaigrid: {len(found)} sums differ from the usage rows\n"
