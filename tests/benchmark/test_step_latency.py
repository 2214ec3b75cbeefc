"""Step latency: what a step is held against does the same forward work."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec_peft.backbone.encoder import TextEncoder
from llmrec_peft.benchmark.sections import Timing
from llmrec_peft.benchmark.step_latency import step_latency
from llmrec_peft.recipe import load_recipe

TEXTS = ["Alien (1979), horror", "Brazil (1985)", "Casablanca (1942), drama, romance, war", "Dune (1984)"]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_and_the_frozen_forward_pass_compute_the_same_passes(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For answers in half precision four texts would fill a pass of 512 tokens, twenty times as many as they have."""
    shapes: dict[bool, set[tuple[int, int | None]]] = {False: set(), True: set()}
    real = TextEncoder._chunk_vectors

    def recorded(self, rows, chunk, tokens, trunk):  # type: ignore[no-untyped-def]
        trained = any(parameter.requires_grad for parameter in self.model.parameters())
        if trunk is None:
            shapes[trained].add((len(rows), chunk.width))
        return real(self, rows, chunk, tokens, trunk)

    monkeypatch.setattr(TextEncoder, "_chunk_vectors", recorded)
    recipe = load_recipe("movies", ["data.path=demo", f"backbone.precision={precision}", "adapter.layers=top-1"])
    measured = step_latency(recipe, TEXTS, Timing(repeats=5, seconds=5.0))
    assert shapes[True] == shapes[False] == {(len(TEXTS), None)}
    for name in ("forward", "step", "step_with_trunk"):
        assert np.isfinite(measured[name]["p50_ms"])
