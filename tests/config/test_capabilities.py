"""What an operator may say about a backend model."""

from __future__ import annotations

from collections.abc import Callable

import config
from config.explain import shape_of_document

Load = Callable[..., config.Loaded]
TEXT = "providers:\n  d: {type: demo}\nmodels:\n  m: {price: free, route: [{backend: 'd:x'CAPABILITIES}]}\n"


def capabilities(load_text: Load, written: str) -> config.Capabilities:
    route = load_text(TEXT.replace("CAPABILITIES", written)).document.models["m"].route
    assert isinstance(route, config.RoutingPolicy)
    return route.targets[0].capabilities


def test_only_what_is_written_is_said(load_text: Load) -> None:
    assert capabilities(load_text, "") == {}
    assert capabilities(load_text, ", capabilities: ") == {}
    assert capabilities(load_text, ", capabilities: {tools: false, images: true}") == {"tools": False, "images": True}


def test_every_feature_may_be_written(load_text: Load) -> None:
    written = ", ".join(f"{feature}: false" for feature in config.FEATURES)
    found = capabilities(load_text, f", capabilities: {{{written}}}")
    assert found == dict.fromkeys(config.FEATURES, False)
    assert len(found) == 27


def test_editors_know_the_features() -> None:
    assert tuple(shape_of_document()["$defs"]["Capabilities"]["properties"]) == config.FEATURES
