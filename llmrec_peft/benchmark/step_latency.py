"""Step latency: training steps timed in turns with the frozen forward pass over the same texts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from llmrec_peft import registry
from llmrec_peft.backbone.encoded_texts import EncodedTexts
from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.backbone.precision import best_device
from llmrec_peft.benchmark.latency import LEAST, finish_queue
from llmrec_peft.data.tokens import TokenTable

if TYPE_CHECKING:
    from llmrec_peft.backbone.adapter import AdapterMethod
    from llmrec_peft.benchmark.sections import Timing
    from llmrec_peft.recipe import Recipe

WARM_UP = 2
"""Repetitions that are not counted, since the first ones fill caches and allocate optimizer states."""


def in_turns(parts: dict[str, Callable[[], object]], timing: Timing) -> dict[str, list[float]]:
    """Measure several functions in turns (A B C A B C), in milliseconds, so that all see the same machine state."""
    taken: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(WARM_UP):
        for work in parts.values():
            work()
    began = time.monotonic()
    for done in range(timing.repeats):
        if done >= LEAST and time.monotonic() - began > timing.seconds:
            break
        for name, work in parts.items():
            finish_queue()
            started = time.perf_counter()
            work()
            finish_queue()
            taken[name].append(1000.0 * (time.perf_counter() - started))
    return taken


def summary(milliseconds: Sequence[float]) -> dict[str, float]:
    """Return median, 95th percentile and number of measurements."""
    return {
        "p50_ms": round(statistics.median(milliseconds), 3),
        "p95_ms": round(float(np.percentile(milliseconds, 95)), 3),
        "n": len(milliseconds),
    }


def step_latency(recipe: Recipe, texts: Sequence[str], timing: Timing) -> dict[str, Any]:
    """Time optimizer steps of an adapter against the frozen forward pass over the same texts.

    A step is that of training: encode, a squared error, backward, clip, AdamW, the method's own work. `with_trunk`
    computes only the layers above the stored states.

    Args:
        recipe: Backbone, adapter, lengths and rates.
        texts: Texts of one step.
        timing: Repetitions.

    Returns:
        ``forward``, ``step`` and ``step_with_trunk`` as `summary` returns them, and the medians of the ratios of each
        step to the forward pass just before it; steps are None if the method trains nothing.
    """
    device = best_device()
    frozen = load_backbone(recipe.backbone, device)
    reader = frozen.reads(recipe.backbone)
    tokens = reader.tokenized(texts, recipe.views.item.max_length)
    keys = torch.arange(len(texts), device=device)
    # as in training, texts pass as they come: for answers in half precision a pass is filled to a fixed shape
    bare = EncodedTexts(reader.encoder(frozen.model, list(frozen.model.modules())).train(), tokens)

    def forward() -> None:
        with torch.no_grad():
            bare(keys)

    parts: dict[str, Callable[[], object]] = {"forward": forward}
    method: AdapterMethod[Any] = registry.get("adapters", recipe.adapter.method)(recipe.adapter.config)
    if method.lowest_layer(frozen) is not None:
        step, step_with_trunk = _steps(recipe, method, tokens, keys, timing)
        parts["step"] = step
        if step_with_trunk is not None:
            parts["step_with_trunk"] = step_with_trunk
    taken = in_turns(parts, timing)
    report: dict[str, Any] = {"texts": len(texts), "tokens": len(tokens.ids)}
    for name in ("forward", "step", "step_with_trunk"):
        report[name] = summary(taken[name]) if name in taken else None
    for name in ("step", "step_with_trunk"):
        ratios = [own / base for own, base in zip(taken.get(name, []), taken["forward"], strict=False)]
        report[f"{name}_over_forward"] = round(statistics.median(ratios), 3) if ratios else None
    return report


def _steps(
    recipe: Recipe, method: AdapterMethod[Any], tokens: TokenTable, keys: torch.Tensor, timing: Timing
) -> tuple[Callable[[], None], Callable[[], None] | None]:
    """Return steps without and with stored states, in a model of their own: the bare one stays bare."""
    section = recipe.backbone
    backbone = load_backbone(section, keys.device)
    modules = list(backbone.model.modules())
    torch.manual_seed(recipe.seed)
    model = method.attach(backbone)
    lowest = method.lowest_layer(backbone)
    reader = backbone.reads(section)
    encoders = [reader.encoder(model, modules).to(keys.device).eval() for _ in range(2)]
    encoded = [EncodedTexts(encoder, tokens, lowest) for encoder in encoders]
    stored = encoded[1].store_trunk(recipe.training.trunk_mb)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, foreach=True)
    wanted = torch.randn(len(keys), reader.width, device=keys.device)
    # AdaLoRA plans its budget over all steps: more than are made, or its schedule would end during the measurement
    total = 2 * (timing.repeats + WARM_UP) + 1
    done = 0

    def step(texts: EncodedTexts) -> None:
        nonlocal done
        texts.encoder.train()
        loss = (texts(keys).float() - wanted).pow(2).mean()
        penalty = method.regularization(model)
        loss = loss if penalty is None else loss + penalty
        loss.backward()  # type: ignore[no-untyped-call]
        if recipe.training.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(trained, recipe.training.clip_norm)
        optimizer.step()
        done += 1
        method.after_step(model, done, total)
        optimizer.zero_grad()

    return (lambda: step(encoded[0])), (lambda: step(encoded[1])) if stored else None
