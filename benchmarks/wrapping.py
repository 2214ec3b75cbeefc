"""What our wrapping costs: a training step through the encoder against the same step with plain `peft` by hand.

Both sides train LoRA (rank 8, query and value) in the same frozen model on the same texts with the same squared
error, clipping and AdamW; each has a model of its own, in one process, and their steps alternate. Nothing is stored:
both compute every layer. Our side is what a run does (distinct texts, sorting by length, chunks, the method's hooks);
by hand is `peft.get_peft_model` called on the padded batch with mean pooling.

    python benchmarks/wrapping.py [--backbones minilm smollm2] [--repeats 30]
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command sets it, before torch is imported

import torch

RESULTS = Path(__file__).parent / "results"
LAYERS = {"minilm": "top-2", "smollm2": "top-4"}
TEXTS = {"minilm": 64, "smollm2": 16}
ROUNDS = 3


def main() -> None:
    """Time both sides on every backbone, print the ratios, write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", nargs="+", default=list(LAYERS))
    parser.add_argument("--repeats", type=int, default=30, help="pairs of steps a round")
    parser.add_argument("--out", type=Path, default=RESULTS / "wrapping.json")
    given = parser.parse_args()
    from llmrec_peft.artifact.hardware import hardware, versions

    rows = {}
    for name in given.backbones:
        rows[name] = compare(name, given.repeats)
        print(name, json.dumps(rows[name], indent=2), flush=True)
    report = {
        "date": datetime.date.today().isoformat(),
        "backbones": rows,
        "hardware": hardware("cuda" if torch.cuda.is_available() else "cpu"),
        "versions": versions(),
    }
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def compare(name: str, repeats: int) -> dict[str, Any]:
    """Alternate both sides' steps over the same texts; the median of the ratios of neighbours."""
    from llmrec_peft.backbone.load import load_backbone
    from llmrec_peft.backbone.precision import best_device
    from llmrec_peft.recipe.sections import BackboneSection

    section = BackboneSection(name=name, normalize=False)
    device = best_device()
    texts = _texts(TEXTS.get(name, 16))
    layers = LAYERS.get(name, "top-2")
    wanted = torch.randn(
        len(texts), load_backbone(section, device).width, generator=torch.Generator().manual_seed(0)
    ).to(device)
    sides = {"ours": ours(section, layers, texts, wanted), "by hand": by_hand(section, layers, texts, wanted)}
    losses = {side: [step() for _ in range(3)] for side, step in sides.items()}
    ratios: list[float] = []
    medians: list[float] = []
    taken: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(ROUNDS):
        own: list[float] = []
        for turn in range(repeats):
            pair = {}
            # who goes first alternates: the second of two neighbours finds warmer caches
            for side in list(sides) if turn % 2 == 0 else list(sides)[::-1]:
                started = time.perf_counter()
                sides[side]()
                if device.type == "cuda":
                    torch.cuda.synchronize()
                pair[side] = time.perf_counter() - started
                taken[side].append(pair[side])
            own.append(pair["ours"] / pair["by hand"])
        ratios += own
        medians.append(statistics.median(own))
    return {
        "layers": layers,
        "texts": len(texts),
        "pairs_of_steps": len(ratios),
        "first_losses": {side: [round(loss, 5) for loss in own] for side, own in losses.items()},
        "milliseconds": {side: round(1000 * statistics.median(own), 2) for side, own in taken.items()},
        "ours_over_by_hand": round(statistics.median(ratios), 4),
        "ours_over_by_hand_of_each_round": [round(one, 4) for one in medians],
        "fastest_over_fastest": round(min(taken["ours"]) / min(taken["by hand"]), 4),
    }


def ours(section: Any, layers: str, texts: list[str], wanted: torch.Tensor) -> Callable[[], float]:
    """A step as a run does it, no states stored."""
    from llmrec_peft import registry
    from llmrec_peft.backbone.encoded_texts import EncodedTexts
    from llmrec_peft.backbone.load import load_backbone
    from llmrec_peft.data.tokens import TokenTable

    backbone = load_backbone(section, wanted.device)
    frozen = list(backbone.model.modules())
    lora = registry.get("adapters", "lora")
    method = lora(lora.Config(rank=8, alpha=16, layers=layers))
    torch.manual_seed(0)
    model = method.attach(backbone)
    tokens = TokenTable.of(texts, lambda some: backbone.tokenize(some, 48), backbone.pad_id)
    encoder = backbone.reads(section).encoder(model, frozen).train()
    encoded = EncodedTexts(encoder, tokens)
    keys = torch.arange(len(texts), device=wanted.device)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, foreach=True)
    done = 0

    def step() -> float:
        nonlocal done
        loss = (encoded(keys).float() - wanted).pow(2).mean()
        penalty = method.regularization(model)
        loss = loss if penalty is None else loss + penalty
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        done += 1
        method.after_step(model, done, 10**6)
        optimizer.zero_grad()
        return loss.item()

    return step


def by_hand(section: Any, layers: str, texts: list[str], wanted: torch.Tensor) -> Callable[[], float]:
    """The same step as one writes it with `transformers` and `peft` alone."""
    from peft import LoraConfig, get_peft_model

    from llmrec_peft.backbone.load import load_backbone

    backbone = load_backbone(section, wanted.device)  # the same weights in the same precision; only these
    depth = backbone.depth
    top = "|".join(str(layer) for layer in range(depth - int(layers.removeprefix("top-")), depth))
    # a pattern of one's own: PEFT's `layers_to_transform` finds no layer in a bare Llama
    targets = rf"(.*\.)?layers?\.({top})\..*\.(query|value|q_proj|v_proj)"
    torch.manual_seed(0)
    config = LoraConfig(task_type="FEATURE_EXTRACTION", r=8, lora_alpha=16, target_modules=targets)
    model = get_peft_model(backbone.model, config)
    model.eval()  # the frozen model's dropout is off on our side, too; this LoRA has none
    backbone.tokenizer.pad_token = backbone.tokenizer.pad_token or backbone.tokenizer.eos_token
    backbone.tokenizer.padding_side = "right"
    inputs = backbone.tokenizer(texts, padding=True, truncation=True, max_length=48, return_tensors="pt")
    ids, mask = inputs["input_ids"].to(wanted.device), inputs["attention_mask"].to(wanted.device)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, foreach=True)

    def step() -> float:
        states = model(input_ids=ids, attention_mask=mask).last_hidden_state
        inside = mask.unsqueeze(-1)
        vectors = (states.float() * inside).sum(1) / inside.sum(1)
        loss = (vectors - wanted).pow(2).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def _texts(count: int) -> list[str]:
    """Descriptions of made-up films, all distinct."""
    from llmrec_peft.experiment.prepare import prepare
    from llmrec_peft.recipe import load_recipe

    prepared = prepare(load_recipe("movies", [], {"data.path": "demo"}))
    return list(dict.fromkeys(prepared.texts[1:]))[:count]


if __name__ == "__main__":
    main()
