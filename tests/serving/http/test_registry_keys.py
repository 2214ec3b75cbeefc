"""Keys in the registry: what is kept of them, their end, and that a tenant's go with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from made_up_routes import version

from llmrec_peft.errors import InputError
from llmrec_peft.serving.http.gate.keys import new_key
from llmrec_peft.serving.http.registry.registry import FILE, Registry
from llmrec_peft.serving.routes import Route


def test_keys_are_there_after_a_restart_and_their_texts_nowhere(opened: Callable[[], Registry], state: Path) -> None:
    registry = opened()
    made = [new_key(None, []), new_key("shop", ["write", "ask"], 2e9, "a label"), new_key("shop", ["manage"])]
    for _, key in made:
        registry.put_key(key)
    assert sorted(opened().keys(), key=lambda key: key.created) == [key for _, key in made]
    content = b"".join(path.read_bytes() for path in state.glob(f"{FILE}*"))
    for text, key in made:
        assert key.digest in content
        assert text.encode() not in content


def test_key_ends_once_and_not_later(registry: Registry) -> None:
    _, key = new_key("shop", ["ask"])
    registry.put_key(key)
    for when, end in ((100.0, 100.0), (200.0, 100.0), (50.0, 50.0)):
        registry.end_key(key.key_id, when)
        (found,) = registry.keys()
        assert found.expires == end
    registry.end_key("nothing", 1.0)


def test_key_does_not_take_the_place_of_another_one(registry: Registry) -> None:
    _, key = new_key("shop", ["ask"])
    registry.put_key(key)
    with pytest.raises(InputError, match="is there already"):
        registry.put_key(replace(new_key("other", ["manage"])[1], key_id=key.key_id))
    assert registry.keys() == [key]
    assert registry.trouble() is None


def test_keys_of_a_forgotten_tenant_are_forgotten(registry: Registry, state: Path) -> None:
    registry.begin("shop", Route(version(state / "store", "a")))
    keys = [new_key(tenant, ["ask"])[1] for tenant in ("shop", "other", None)]
    for key in keys:
        registry.put_key(key)
    registry.end("shop")
    left = registry.keys()
    assert {one.tenant for one in left} == {"other", None}
