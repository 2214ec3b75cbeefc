"""One step of many tenants, forward and backward, in shared passes and one tenant after the other."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

ROWS = (2, 8, 32)
"""Texts of one tenant in a step."""


def steps(recipe: str, tenants: int, small: bool) -> list[dict[str, float]]:
    """Compare a step of all tenants in shared passes with their steps one after the other."""
    import torch

    from llmrec_peft import registry
    from llmrec_peft.backbone.encoded_texts import EncodedTexts
    from llmrec_peft.backbone.load import load_backbone
    from llmrec_peft.backbone.mixed_training import MixedTraining
    from llmrec_peft.backbone.shared import view_of
    from llmrec_peft.backbone.text_reader import text_reader
    from llmrec_peft.recipe import load_recipe
    from llmrec_peft.training.accelerator import make_accelerator
    from llmrec_peft.training.coroutines import Coroutines, drawing_as

    torch.set_num_threads(1)  # threads that wait for each other would count as time of the processor
    section = load_recipe(recipe).backbone
    device = make_accelerator((), Path()).device
    base, method = load_backbone(section, device), registry.get("adapters", "lora")
    words = "silent window heat toy story drama crime film sea long night river old new".split()

    def turn(mixing: str, rows: int, repeats: int) -> float:
        jobs: Coroutines[None] = Coroutines()
        mixed = MixedTraining(jobs.wait, drawing_as, mixing)  # type: ignore[arg-type]

        def job(at: int) -> Callable[[], None]:
            own, adapter = view_of(base), method(method.Config(layers="top-2"))
            frozen, draw = list(own.model.modules()), random.Random(at)  # noqa: S311
            tuned = adapter.attach(own)
            texts = [" ".join(draw.choices(words, k=16)) for _ in range(rows)]
            reader = text_reader(own, section)
            encoder = reader.encoder(tuned, frozen).to(device)
            encoded = EncodedTexts(encoder, reader.tokenized(texts, 48), adapter.lowest_layer(own))
            encoded.store_trunk(64.0)
            mixed.take(encoder, own.model, base.model)
            encoded.mixed = mixed
            encoder.train()

            def run() -> None:
                for _ in range(repeats):
                    vectors = encoded(torch.arange(len(texts), device=device))
                    vectors.sum().backward()
                    encoded.finish_backward()

            return run

        chosen = [job(at) for at in range(tenants)]
        repeats = 1
        jobs.run(chosen, tenants, mixed.serve)  # proves that the host gives what each alone gives
        best = float("inf")
        for _ in range(1 if small else 2):
            if device.type == "cuda":
                torch.cuda.synchronize()
            began = time.monotonic() if device.type == "cuda" else time.process_time()
            jobs.run(chosen, tenants, mixed.serve)
            if device.type == "cuda":
                torch.cuda.synchronize()
            now = time.monotonic() if device.type == "cuda" else time.process_time()
            best = min(best, now - began)
        return best

    found = []
    for rows in ROWS[:2] if small else ROWS:
        shared, apart = turn("always", rows, 1), turn("never", rows, 1)
        found.append(
            {
                "rows": rows,
                "shared_ms": round(1000 * shared, 2),
                "apart_ms": round(1000 * apart, 2),
                "ratio": round(shared / apart, 3),
            }
        )
    return found
