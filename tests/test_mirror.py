"""Every source file has the test file of its name, and the other way round; what has none says why."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
TREES = ("appliance", "config", "tui")

RECORDS = "holds records only"
SCENARIOS = "tested by tests/scenarios over HTTP"

WITHOUT_TEST = {
    "appliance/exchange.py": RECORDS,
    "appliance/limits.py": RECORDS,
    "appliance/people.py": RECORDS,
    "appliance/formats/base.py": RECORDS,
    "appliance/formats/chat.py": RECORDS,
    "appliance/grid/grid.py": RECORDS,
    "appliance/app.py": SCENARIOS,
    "appliance/server.py": SCENARIOS,
    "appliance/api/accounting.py": SCENARIOS,
    "appliance/api/backend_writes.py": SCENARIOS,
    "appliance/api/budgets.py": SCENARIOS,
    "appliance/api/budget_record.py": SCENARIOS,
    "appliance/api/usage_record.py": SCENARIOS,
    "appliance/api/configuration.py": SCENARIOS,
    "appliance/api/model_switch.py": SCENARIOS,
    "appliance/api/model_writes.py": SCENARIOS,
    "appliance/api/models.py": SCENARIOS,
    "appliance/api/oai.py": SCENARIOS,
    "appliance/api/partners.py": SCENARIOS,
    "appliance/api/provider_writes.py": SCENARIOS,
    "appliance/api/roles.py": SCENARIOS,
    "appliance/api/routing_policies.py": SCENARIOS,
    "appliance/api/tenants.py": SCENARIOS,
    "appliance/api/users.py": SCENARIOS,
    "appliance/api/request.py": SCENARIOS,
    "appliance/api/routes.py": "one list; compared with the docs in tests/test_docs.py and with the permissions",
    "appliance/api/reference.py": "writes docs/api.md, which tests/test_docs.py compares",
    "tui/options.py": "tests/tui/test_commands.py asks each command for them",
    "tui/usage_command.py": "tests/tui/test_usage.py runs the command",
    "config/check.py": "tests/config/test_golden.py compares every problem it can find",
    "config/check_limits.py": "tests/config/test_limits.py; test_golden.py compares every problem it can find",
    "config/document.py": RECORDS,
    "config/entry.py": RECORDS,
    "config/models.py": RECORDS,
    "config/later.py": "tests/config/test_golden.py; a list that later issues empty",
}
"""Source file → why it has no test file of its own."""

WITHOUT_SOURCE = {
    "tests/appliance/grid/test_usages_corpus.py": "tests formats and appliance/grid/prices.py on recorded usages",
    "tests/config/test_example.py": "tests scaigrid.yaml",
    "tests/config/test_golden.py": "tests config/load.py over many files",
}
"""Test file inside the mirrored folders → what it tests instead of a file of its name."""


def sources() -> set[str]:
    paths = (path for tree in TREES for path in (ROOT / tree).rglob("*.py"))
    return {path.relative_to(ROOT).as_posix() for path in paths if not _is_list(path)}


def _is_list(path: Path) -> bool:
    """An __init__.py without functions: imports, a docstring, a list, the record of a bundle."""
    if path.name != "__init__.py":
        return False
    defined = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return not any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in defined)


def mirrored() -> set[str]:
    paths = (path for tree in TREES for path in (TESTS / tree).rglob("test_*.py"))
    return {path.relative_to(ROOT).as_posix() for path in paths}


def name_of_test(source: str) -> str:
    path = Path(source)
    return (Path("tests") / path.parent / f"test_{path.stem.strip('_')}.py").as_posix()


@pytest.mark.parametrize("source", sorted(sources()))
def test_a_source_file_has_its_test_file_or_a_reason(source: str) -> None:
    wanted = name_of_test(source)
    assert (wanted in mirrored()) != (source in WITHOUT_TEST), (
        f"{source}: either write {wanted}, or say in WITHOUT_TEST why not; never both"
    )


@pytest.mark.parametrize("test", sorted(mirrored()))
def test_a_test_file_has_its_source_file_or_a_reason(test: str) -> None:
    known = {name_of_test(source) for source in sources()}
    assert (test in known) != (test in WITHOUT_SOURCE), f"{test}: tests no file of its name; see WITHOUT_SOURCE"


def test_no_exception_outlives_its_file() -> None:
    assert set(WITHOUT_TEST) - sources() == set()
    assert set(WITHOUT_SOURCE) - mirrored() == set()


def test_tests_are_no_package() -> None:
    """With an __init__.py, tests/config would hide config (house rules, trap 1)."""
    assert [path for path in TESTS.rglob("__init__.py") if ".venv" not in path.parts] == []
