"""Seconds and memory of tuning, ours against plain `peft` + `transformers.Trainer`, in one run on one machine.

All sides train the same LoRA (rank 8, query and value, the layers named by --layers) with user and item
vectors and biases under squared error on MovieLens-100K's u1.base, in fp32. `plain` is what one writes with
the two libraries alone: a dataset of ratings whose text is tokenized with each row, random batches, the
whole encoder forward and backward for each row. `bare` is one forward pass of the bare base model over every
film's text, the least that any text model pays. Each side runs in a process of its own.

    python benchmarks/train_against_plain_peft.py --data DIR [--layers top-2] [--steps 30]
"""

from __future__ import annotations

import argparse
import datetime
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
BATCH = 256
EPOCH_RATINGS = 80_000


def main() -> None:
    """Run every side in turn, print the ratios, write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="../shared/data", help="folder that holds ml-100k")
    parser.add_argument("--layers", default="top-2", help="adapted layers, for all sides")
    parser.add_argument("--steps", type=int, default=30, help="steps of the plain side that are timed")
    parser.add_argument("--side", choices=["ours", "plain", "bare"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    data = Path(given.data) / "ml-100k"
    if given.side:
        sides = {"ours": ours, "plain": plain, "bare": bare}
        sys.stdout.write(json.dumps({**sides[given.side](data, given.layers, given.steps), **_memory()}) + "\n")
        return
    rows = {side: _run(side, given) for side in ("bare", "ours", "plain")}
    from llmrec_peft.artifact.hardware import hardware, versions

    report = {
        "date": datetime.date.today().isoformat(),
        "layers": given.layers,
        "sides": rows,
        "plain_over_ours_seconds": rows["plain"]["seconds_per_epoch"] / rows["ours"]["seconds_per_epoch"],
        "plain_over_ours_peak_rss": rows["plain"]["peak_rss_mb"] / rows["ours"]["peak_rss_mb"],
        "ours_over_bare_seconds": rows["ours"]["seconds_per_epoch"] / rows["bare"]["seconds_per_epoch"],
        "hardware": hardware("cuda" if torch.cuda.is_available() else "cpu"),
        "versions": versions(),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "train_against_plain_peft.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in report.items() if key not in ("hardware", "versions")}, indent=2))


def _run(side: str, given: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "--data", given.data, "--layers", given.layers, "--steps", str(given.steps)]
    answer = subprocess.run([*command, "--side", side], capture_output=True, text=True, check=True)
    row: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return row


def _memory() -> dict[str, float]:
    return {"peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10}


def recipe_of(data: Path, layers: str) -> Any:
    """Return our recipe: films rated from texts, vectors and biases alone, two epochs."""
    from llmrec_peft.recipe import load_recipe

    overrides = [
        "signals.graph=false",
        f"adapter.layers={layers}",
        "backbone.precision=fp32",
        "training.epochs=2",
        "training.adapter_epochs=null",
        "training.refit=false",
        "training.patience=null",
        "signals.collaborative.user_history=none",
        "signals.collaborative.item_history=none",
    ]
    return load_recipe("movies", overrides, {"data.path": str(data)})


def ours(data: Path, layers: str, steps: int) -> dict[str, float]:
    """Two epochs of our loop over u1.base; the second is timed, what is precomputed is reported beside it."""
    from accelerate import Accelerator

    from llmrec_peft.backbone.load import load_backbone
    from llmrec_peft.experiment.fitting import new_model
    from llmrec_peft.experiment.prepare import prepare
    from llmrec_peft.experiment.texts import Texts
    from llmrec_peft.training.checkpoint import Checkpoint
    from llmrec_peft.training.loop import fit

    prepared = prepare(recipe_of(data, layers))
    recipe = prepared.recipe
    accelerator = Accelerator()
    train = prepared.learned(True)
    started = time.monotonic()
    texts = Texts(load_backbone(recipe.backbone, accelerator.device), prepared, recipe)
    model = new_model(recipe, prepared, train, texts)
    precomputed = time.monotonic() - started
    section = recipe.training.model_copy(update={"checkpoint_seconds": 1e9})
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for epochs in (1, 2):
            model = new_model(recipe, prepared, train, texts)
            result = fit(
                model,
                train,
                section,
                1,
                accelerator,
                Checkpoint(Path(folder) / str(epochs)),
                "ours",
                texts.method,
                epochs=epochs,
            )
            seconds.append(result.seconds)
    return {
        "seconds_per_epoch": (seconds[1] - seconds[0]) * EPOCH_RATINGS / len(train),
        "seconds_precomputed": precomputed,
    }


def bare(data: Path, layers: str, steps: int) -> dict[str, float]:
    """One forward pass of the bare model over every film's text, in order of length, without gradient."""
    tokenizer, model, texts = base_of(data)
    ordered = sorted(texts, key=len)
    for _ in range(2):
        started = time.monotonic()
        with torch.no_grad():
            for at in range(0, len(ordered), 64):
                model(**tokenizer(ordered[at : at + 64], padding=True, return_tensors="pt"))
    return {"seconds_per_epoch": time.monotonic() - started}


def plain(data: Path, layers: str, steps: int) -> dict[str, float]:
    """Plain `peft` and `Trainer`: every rating encodes its own text."""
    from transformers import DataCollatorWithPadding, Trainer, TrainerCallback, TrainingArguments

    tokenizer, base, texts = base_of(data)
    rows = []
    for line in (data / "u1.base").read_text(encoding="utf-8").splitlines()[: (steps + 5) * BATCH]:
        user, item, rating, _time = line.split("\t")
        tokens = tokenizer(texts[int(item) - 1], truncation=True, max_length=48)
        rows.append({**tokens, "user": int(user), "item": int(item), "labels": float(rating)})

    class Clock(TrainerCallback):  # type: ignore[misc]
        marks: list[float] = []  # noqa: RUF012 - one run, one list

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.marks.append(time.monotonic())

    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=BATCH,
            max_steps=steps + 5,
            learning_rate=1e-3,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            remove_unused_columns=False,
        )
        collator = DataCollatorWithPadding(tokenizer)
        model = plain_model(base, layers, 3.53)
        Trainer(model, arguments, data_collator=collator, train_dataset=rows, callbacks=[clock]).train()
    seconds = (clock.marks[-1] - clock.marks[4]) / steps
    return {"seconds_per_epoch": seconds * EPOCH_RATINGS / BATCH, "timed_steps": steps}


def plain_model(base: torch.nn.Module, layers: str, mean: float) -> torch.nn.Module:
    """Return what one writes with `peft` alone: LoRA on queries and values, vectors and biases of users and films.

    Args:
        base: The language model.
        layers: Adapted layers: ``all``, or ``top-N``.
        mean: Mean rating.
    """
    from peft import LoraConfig, get_peft_model
    from torch import nn

    depth = base.config.num_hidden_layers
    restricted = {}
    if layers != "all":
        chosen = list(range(depth - int(layers.removeprefix("top-")), depth))
        restricted = {"layers_to_transform": chosen, "layers_pattern": "layer"}
    config = LoraConfig(task_type="FEATURE_EXTRACTION", r=8, target_modules=["query", "value"], **restricted)
    encoder = get_peft_model(base, config)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder
            self.users, self.items = nn.Embedding(944, 32), nn.Embedding(1683, 32)
            self.user_bias, self.item_bias = nn.Embedding(944, 1), nn.Embedding(1683, 1)
            self.text = nn.Linear(384, 32)

        def forward(
            self,
            input_ids: torch.Tensor,
            attention_mask: torch.Tensor,
            user: torch.Tensor,
            item: torch.Tensor,
            labels: torch.Tensor,
            **_: Any,
        ) -> dict[str, torch.Tensor]:
            predicted = self.rated(self.encoded(input_ids, attention_mask), user, item)
            return {"loss": (predicted - labels).pow(2).mean()}

        def encoded(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            mask = attention_mask.unsqueeze(-1).float()
            return (states * mask).sum(1) / mask.sum(1)

        def rated(self, text: torch.Tensor, user: torch.Tensor, item: torch.Tensor) -> torch.Tensor:
            vector = self.items(item) + self.text(text)
            bias = self.user_bias(user) + self.item_bias(item)
            return mean + bias.squeeze(-1) + (self.users(user) * vector).sum(-1)

    return Model()


def base_of(data: Path) -> tuple[Any, Any, list[str]]:
    """Return the tokenizer and the language model, and the text of each film."""
    from transformers import AutoModel, AutoTokenizer

    from llmrec_peft.backbone.locate import locate
    from llmrec_peft.experiment.prepare import prepare

    folder = locate("minilm").folder
    prepared = prepare(recipe_of(data, "all"))
    model = AutoModel.from_pretrained(folder, add_pooling_layer=False)
    return AutoTokenizer.from_pretrained(folder), model, list(prepared.texts[1:])


if __name__ == "__main__":
    main()
