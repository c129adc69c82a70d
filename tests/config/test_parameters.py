"""Default parameters, and to which modality each belongs."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import config
from config.parameters import PARAMETERS

Load = Callable[..., config.Loaded]


def default_params(load_text: Load, modality: str, written: str) -> config.DefaultParams:
    text = (
        f"models:\n  m: {{price: free, modality: {modality}, route: [{{backend: 'd:x'}}], default_params: {written}}}\n"
    )
    return load_text("providers:\n  d: {type: demo}\n" + text).document.models["m"].default_params


def test_default_parameters_are_a_plain_mapping(load_text: Load) -> None:
    found = default_params(load_text, "chat", "{stop: END, temperature: 1, max_tokens: 5}")
    assert found == {"stop": ["END"], "temperature": 1.0, "max_tokens": 5}


def test_each_modality_has_its_own(load_text: Load) -> None:
    assert default_params(load_text, "embedding", "{dimensions: 256}") == {"dimensions": 256}
    assert default_params(load_text, "image", "{size: 1024x1024, quality: high}") == {
        "size": "1024x1024",
        "quality": "high",
    }
    assert default_params(load_text, "audio", "{voice: alloy, response_format: mp3, language: en}") == {
        "voice": "alloy",
        "response_format": "mp3",
        "language": "en",
    }
    assert default_params(load_text, "rerank", "{}") == {}


def test_every_parameter_belongs_to_one_modality() -> None:
    assert tuple(PARAMETERS) == get_args(config.Modality)
    named = [name for names in PARAMETERS.values() for name in names]
    assert sorted(named) == sorted(config.DefaultParams.__annotations__)
