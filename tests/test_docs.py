"""What there is, is documented: URLs, permissions, roles, error codes, metrics, commands; and no link leads nowhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from appliance.__main__ import app
from appliance.api import reference
from appliance.api.routes import ROUTES, Route
from appliance.errors import CODES
from appliance.permissions import PERMISSIONS, ROLES
from appliance.state.metrics import Metrics

ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
}
EVERYTHING = "\n".join(PAGES.values())
REPAIR = "run `.venv/bin/python -m appliance.api.reference`"


def test_the_api_page_is_what_the_tables_say() -> None:
    assert PAGES["docs/api.md"] == reference.page(), REPAIR


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_url_is_documented(route: Route) -> None:
    path = re.sub(r"<(\w+)(:path)?>", r"{\1}", route.path)
    assert f"| {route.method} | `{path}` |" in PAGES["docs/api.md"], f"{route.method} {path} is missing; {REPAIR}"
    assert route.what


@pytest.mark.parametrize("name", [*CODES, *PERMISSIONS, *ROLES])
def test_every_code_permission_and_role_is_documented(name: str) -> None:
    assert f"`{name}`" in PAGES["docs/api.md"], f"`{name}` is missing; {REPAIR}"


GAUGES = re.findall(r'"(scaigrid_\w+)"', (ROOT / "appliance/api/health.py").read_text(encoding="utf-8"))
METRICS = re.findall(r"# TYPE (\w+)", Metrics().render(dict.fromkeys(GAUGES, 0)).decode())


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_documented(name: str) -> None:
    assert name in EVERYTHING, f"the metric {name} stands on none of {', '.join(PAGES)}"


def commands() -> list[str]:
    """`serve`, `keys create` …"""
    found: list[str] = []

    def walk(group: typer.Typer, words: tuple[str, ...]) -> None:
        for command in group.registered_commands:
            name = command.name or (command.callback.__name__ if command.callback else "")
            if not command.hidden:
                found.append(" ".join((*words, name.replace("_", "-"))))
        for inner in group.registered_groups:
            assert inner.typer_instance
            group_name = inner.name or inner.typer_instance.info.name
            assert isinstance(group_name, str)
            walk(inner.typer_instance, (*words, group_name))

    walk(app, ())
    return found


@pytest.mark.parametrize("command", commands())
def test_every_command_is_documented(command: str) -> None:
    assert re.search(rf"scaigrid {command}\b", EVERYTHING), f"`scaigrid {command}` stands on none of {', '.join(PAGES)}"


def test_there_are_commands() -> None:
    assert {"serve", "check"} <= set(commands())


@pytest.mark.parametrize("page", PAGES)
def test_urls_that_a_page_names_are_served(page: str) -> None:
    patterns = [re.compile(re.sub(r"<\w+(:path)?>", "[^ ]+", route.path)) for route in ROUTES]
    named = set(re.findall(r"(?<![\w.}])/(?:v1|oai/v1)/[\w/{}%-]*\w", PAGES[page]))
    unserved = {url for url in named if not any(pattern.fullmatch(url) for pattern in patterns)}
    assert unserved == set(), f"{page} names URLs that nothing serves"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / page).parent / file if file else ROOT / page
        assert path.exists(), f"{page} links to {target}, which does not exist"
        if anchor and path.suffix == ".md":
            assert anchor in _anchors(path), f"{page} links to {target}, but there is no such heading"


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_exist(page: str) -> None:
    named = re.findall(r"`((?:appliance|config|tui|tests|packaging|docs)/[\w./-]+\.\w+)`", PAGES[page])
    assert [name for name in named if not (ROOT / name).exists()] == []
