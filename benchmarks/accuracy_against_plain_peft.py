"""Accuracy of tuning, ours against plain `peft` + `transformers.Trainer`: same ratings, same epochs, same test part.

Both sides train the same LoRA (rank 8, query and value, the layers named by --layers) with vectors and biases of users
and films under squared error, in fp32, on ratings drawn from MovieLens-100K's u1.base, with the same learning rates by
group of parameters. Ours takes whole films a step, so that an epoch encodes each text once; the plain side takes random
ratings and encodes a text for each. u1.test is answered once. Its time: `train_against_plain_peft.py`.

    python benchmarks/accuracy_against_plain_peft.py --data DIR [--ratings 8000] [--epochs 5] [--seeds 1 2 3]
"""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from train_against_plain_peft import BATCH, base_of, plain_model, recipe_of

from llmrec_peft.artifact.folder import whole_file
from llmrec_peft.artifact.hardware import hardware, versions
from llmrec_peft.evaluation.rating_metrics import rating_report
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.experiment.prepared import Prepared
from llmrec_peft.workflows.train import train

RESULTS = Path(__file__).parent / "results" / "accuracy_against_plain_peft.json"
START = 0.05
"""Standard deviation of the plain side's tables at the start; at 1.0, torch's own, it would be several stars off."""


def main() -> None:
    """Train both sides with every seed, print and write their test figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds ml-100k")
    parser.add_argument("--layers", default="top-2", help="adapted layers, for both sides")
    parser.add_argument("--ratings", type=int, default=8000, help="training ratings, drawn anew for each seed")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=RESULTS, help="result to write")
    given = parser.parse_args()
    rows = []
    for seed in given.seeds:
        recipe = recipe_of(given.data / "ml-100k", given.layers).changed(
            {"seed": seed, "data.train_size": given.ratings, "training.epochs": given.epochs, "evaluation.bootstrap": 0}
        )
        row = {"seed": seed, "ours": ours(recipe), "plain": plain(recipe, given.data / "ml-100k", given.layers)}
        print(json.dumps(row), flush=True)
        rows.append(row)
    report = {
        "name": "accuracy_against_plain_peft",
        "date": datetime.date.today().isoformat(),
        **{"layers": given.layers, "ratings": given.ratings, "epochs": given.epochs},
        "rows": rows,
        "hardware": hardware("cuda" if torch.cuda.is_available() else "cpu"),
        "versions": versions(),
    }
    with whole_file(given.out) as partial:
        partial.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def ours(recipe: Any) -> dict[str, Any]:
    """Train our recipe; the figures of the baselines of the same ratings are beside its own."""
    with tempfile.TemporaryDirectory() as folder:
        metrics = train(recipe, Path(folder) / "run", show=False)
    test = metrics["test"]
    baselines = {name: figures["rmse"] for name, figures in test["baselines"].items()}
    return {"rmse": test["after"]["rmse"], "seconds": metrics["seconds"]["train"], "baselines": baselines}


def plain(recipe: Any, data: Path, layers: str) -> dict[str, Any]:
    """Train with `Trainer` on the very ratings that our side draws, and answer the same test part."""
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments, set_seed

    prepared = prepare(recipe)
    set_seed(recipe.seed)
    tokenizer, base, texts = base_of(data)
    known = prepared.train
    model = plain_model(base, layers, float(known.label.mean()))
    for table in (model.users, model.items, model.user_bias, model.item_bias):
        torch.nn.init.normal_(table.weight, std=START)
    tokens = tokenizer(texts, truncation=True, max_length=48)["input_ids"]
    rows = [
        {"input_ids": tokens[item - 1], "user": user, "item": item, "labels": label}
        for user, item, label in zip(known.user.tolist(), known.item.tolist(), known.label.tolist(), strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=BATCH,
            num_train_epochs=recipe.training.epochs,
            lr_scheduler_type="constant",
            seed=recipe.seed,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            remove_unused_columns=False,
        )
        collator = DataCollatorWithPadding(tokenizer)
        optimizers = (torch.optim.AdamW(_groups(model, recipe)), None)
        began = time.monotonic()
        Trainer(model, arguments, data_collator=collator, train_dataset=rows, optimizers=optimizers).train()
        seconds = time.monotonic() - began
    return {"rmse": _test_rmse(model, tokenizer, texts, prepared), "seconds": seconds}


def _groups(model: torch.nn.Module, recipe: Any) -> list[dict[str, Any]]:
    """Return the trained parameters in three groups with our recipe's rates and decays."""
    tables = ("users", "items", "user_bias", "item_bias")
    of_group: dict[str, list[torch.nn.Parameter]] = {"adapter": [], "embeddings": [], "head": []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            first = name.partition(".")[0]
            of_group["adapter" if first == "encoder" else "embeddings" if first in tables else "head"].append(parameter)
    sections = {name: getattr(recipe.training, name) for name in of_group}
    return [
        {"params": chosen, "lr": sections[name].learning_rate, "weight_decay": sections[name].weight_decay}
        for name, chosen in of_group.items()
    ]


def _test_rmse(model: Any, tokenizer: Any, texts: list[str], prepared: Prepared) -> float:
    """Encode each film once and rate the test part, within the owner's scale."""
    model.eval()
    vectors = []
    with torch.no_grad():
        for at in range(0, len(texts), 64):
            some = tokenizer(texts[at : at + 64], truncation=True, max_length=48, padding=True, return_tensors="pt")
            vectors.append(model.encoded(some["input_ids"], some["attention_mask"]))
        user, item = torch.from_numpy(prepared.test.user), torch.from_numpy(prepared.test.item)
        predicted = model.rated(torch.cat(vectors)[item - 1], user, item).numpy()
    return rating_report(np.clip(predicted, *prepared.dataset.rating_range), prepared.test.label)["rmse"]


if __name__ == "__main__":
    main()
