"""Isolation over HTTP: every list is what the version that it names gives, whatever is swapped, evicted or rotated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from http_isolation import roots_of, swapped_over_http
from isolation import OTHER, SHOP, Truth
from running_server import running
from tiered_engines import room_for_two, sizes

from llmrec_peft.serving import engine as engine_module
from llmrec_peft.serving.answers import Answer
from llmrec_peft.serving.engine import Engine
from llmrec_peft.serving.http import host as host_module

pytestmark = pytest.mark.trains


@pytest.fixture(scope="session")
def truth_over_http(five_rivals: list[Path]) -> Truth:
    """What the rivals answer alone, for groups of six users."""
    return Truth.of(five_rivals, 6)


def test_no_answer_is_wrong_while_runs_are_swapped_evicted_and_keys_rotated(
    tmp_path: Path, five_rivals: list[Path], truth_over_http: Truth
) -> None:
    *rivals, other = five_rivals
    room = room_for_two(sizes(five_rivals, tmp_path / "sizes"))
    runs = {SHOP: rivals[0], OTHER: other}
    with running(tmp_path / "state", runs, roots_of(five_rivals), cache_bytes=0, host_bytes=room) as served:
        counts = swapped_over_http(served, rivals, truth_over_http, asks=600, swaps=30)
        assert counts.wrong == []
        assert counts.asks >= 600
        assert (counts.swaps, counts.rotations) == (30, 10)
        assert counts.evictions > 5
        assert len(counts.versions) == len(rivals), "all runs answered"


class ResolvesPerUser(Engine):
    """A mutation: the tenant's name is looked up anew for each user of an ask."""

    def ask(self, tenant: str, users: Sequence[str], *given: Any, **named: Any) -> list[Answer]:
        ask = super().ask
        return [answer for user in users for answer in ask(tenant, [user], *given[:3])]


def test_a_name_that_is_looked_up_for_each_user_is_found(
    tmp_path: Path, five_rivals: list[Path], truth_over_http: Truth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_module, "Engine", ResolvesPerUser)
    *rivals, other = five_rivals
    runs = {SHOP: rivals[0], OTHER: other}
    with running(tmp_path / "state", runs, roots_of(five_rivals), cache_bytes=0) as served:
        counts = swapped_over_http(served, rivals, truth_over_http, asks=10**9, swaps=2000)
    assert any("answered by 2 versions" in wrong for wrong in counts.wrong), counts.wrong


def test_lists_that_are_kept_by_user_alone_are_found(
    tmp_path: Path, five_rivals: list[Path], truth_over_http: Truth, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(identity: object, user: str, k: int, seen: bool) -> Any:
        return ("any version", user, k, seen)

    monkeypatch.setattr(engine_module, "key_of", careless)
    *rivals, other = five_rivals
    runs = {SHOP: rivals[0], OTHER: other}
    with running(tmp_path / "state", runs, roots_of(five_rivals)) as served:
        counts = swapped_over_http(served, rivals, truth_over_http, asks=10**9, swaps=2000)
    assert counts.wrong, "nothing was noticed"
