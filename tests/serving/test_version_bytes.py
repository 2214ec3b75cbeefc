"""Bytes of versions: what is shared counts once, what is mapped counts apart, and what is made later counts then."""

from __future__ import annotations

from pathlib import Path

from tiered_engines import FILM, USERS

from llmrec_peft.run.tenant import LoadedTenant
from llmrec_peft.serving.engine import Engine
from llmrec_peft.serving.tiers.version_bytes import bytes_of


def loaded(engine: Engine, tenant: str) -> LoadedTenant:
    with engine._tier.leased(engine._tenants.route(tenant).main) as snapshot:
        return snapshot.tenant


def test_what_is_shared_counts_once_and_what_is_mapped_counts_apart(engine: Engine, rivals: list[Path]) -> None:
    engine.register("shop", rivals[0])
    first = loaded(engine, "shop")
    alone = bytes_of([first])
    assert bytes_of([first, first]) == alone
    assert first.catalogue.vectors is not None
    copied = first.with_vectors(first.catalogue.vectors.clone())
    both = bytes_of([first, copied])
    assert both.mapped == alone.mapped > first.catalogue.vectors.nbytes
    assert alone.private + first.catalogue.vectors.nbytes < both.private < 2 * alone.private


def test_items_and_tables_that_are_made_later_are_held_from_then_on(engine: Engine, rivals: list[Path]) -> None:
    engine.register("shop", rivals[0])
    steps = [engine.memory().host_bytes]
    engine.add_items("shop", [FILM | {"item_id": f"new {number}"} for number in range(400)])
    steps.append(engine.memory().host_bytes)
    engine.ask("shop", USERS)
    steps.append(engine.memory().host_bytes)
    engine.ask("shop", USERS[::-1])
    assert steps[1] >= steps[0] + 400 * 32 * 4
    assert steps[2] > steps[1], "the side of items"
    assert engine.memory().host_bytes == steps[2]
    assert engine.standing("shop").conditions[0].nbytes == steps[2]
