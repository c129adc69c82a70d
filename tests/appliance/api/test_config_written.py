"""What the YAML says of routing: as it is written, over all files that hold such entries, and only those."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import config
from appliance.api.config_written import written

MAIN = """version: 1
include: ["conf.d/*.yaml"]
providers:
  demo: {type: demo}
  up: {type: custom, base_url: "${env:UP:-http://up.test/v1}", timeouts: {idle: 90s}}
models:
  m: {price: {input: "1.50", output: "2"}, route: &r [{backend: "demo:x"}]}
  n: {price: free, route: *r}
"""


def loaded(tmp_path: Path, **included: str) -> config.Loaded:
    (tmp_path / "conf.d").mkdir()
    for name, text in included.items():
        (tmp_path / "conf.d" / f"{name}.yaml").write_text(text)
    path = tmp_path / "scaigrid.yaml"
    path.write_text(MAIN)
    return config.load(path, {})


def test_values_stand_as_they_are_written(tmp_path: Path) -> None:
    found = loaded(tmp_path)
    assert written(found, "providers")["up"] == {
        "type": "custom",
        "base_url": "${env:UP:-http://up.test/v1}",
        "timeouts": {"idle": "90s"},
    }
    assert written(found, "models")["m"]["price"] == {"input": "1.50", "output": "2"}
    assert written(found, "models")["n"]["route"] == [{"backend": "demo:x"}]
    assert written(found, "routing_policies") == {}


def test_included_entries_are_there_too(tmp_path: Path) -> None:
    more = 'routing_policies:\n  p: {targets: [{backend: "demo:y"}]}\nmodels:\n  o: {price: free, route: p}\n'
    found = loaded(tmp_path, more=more)
    assert list(written(found, "models")) == ["m", "n", "o"]
    assert written(found, "routing_policies") == {"p": {"targets": [{"backend": "demo:y"}]}}


def test_a_file_of_tenants_alone_is_not_read(tmp_path: Path) -> None:
    found = loaded(tmp_path, tenants="partners:\n  north: {tenants: {acme: {}}}\n")
    broken: dict[Path, Any] = {
        file: b"no: [yaml" if file.name == "tenants.yaml" else content for file, content in found.contents.items()
    }
    assert list(written(dataclasses.replace(found, contents=broken), "models")) == ["m", "n"]
