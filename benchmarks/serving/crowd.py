"""A crowd of tenants: some runs trained on one base, and others made of their tensors by a little noise.

Every tenant has a run folder with a digest of its own, so that an engine seals, loads, checks and keeps it as it would
any other. Trained runs and the sealed store are kept in `runs/tenants`, and made once.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
ITEMS, USERS, RATINGS = 2_000, 500, 20_000
SMALL = 5
"""By what a small crowd's data are divided."""
METHODS: tuple[dict[str, Any], ...] = (
    {"method": "lora", "rank": 4},
    {"method": "lora", "rank": 8},
    {"method": "lora", "rank": 16},
    {"method": "bottleneck"},
    {"method": "lora", "rank": 8, "targets": "all-linear"},
    {"method": "ia3"},
)
"""Adapters of the trained runs; tenant n has the one at n modulo their number."""
NOISE = 0.01
"""Standard deviation of the factor by which a number of a derived run differs from 1."""
QUICK: dict[str, Any] = {
    "backbone.precision": "fp32",
    "training.epochs": 1,
    "training.choice": "validation",
    "training.refit": False,
    "evaluation.ablations": [],
    "evaluation.collaborative_only": False,
    "evaluation.blend": False,
    "evaluation.bootstrap": 0,
}
LEFT_OUT = ("predictions.parquet", "trained.safetensors", "canary.safetensors", "item_matrix.safetensors")
"""Private files that no answer reads, which derived runs do without, and what follows from the other files."""


@dataclass(frozen=True)
class Crowd:
    """Tenants' runs.

    Attributes:
        store: Folder of the sealed store that holds all of them.
        runs: Sealed folder of each tenant; its name begins with the digest.
        users: Ids of the users that every run knows.
        titles: Titles that new items can have.
        items: Items that a run knows.
    """

    store: Path
    runs: list[Path]
    users: list[str]
    titles: list[str]
    items: int


def crowd(count: int, small: bool, backbone: str = "minilm", work: Path | None = None) -> Crowd:
    """Return a crowd of `count` tenants; what is there already is not made again.

    Args:
        count: Number of tenants.
        small: Whether runs know few users and items and come from two trained runs.
        backbone: The base.
        work: Where runs and store are kept.
    """
    from llmrec_peft.artifact.manifest import FORMAT
    from llmrec_peft.serving.sealed_store import SealedStore

    place = work or ROOT / "runs" / "tenants"
    place = place / f"format-{FORMAT}{'-small' if small else ''}"
    trained = trained_runs(place, small, backbone)
    store, listed = SealedStore(place / "store"), place / "sealed.json"
    names: list[str] = json.loads(listed.read_text(encoding="utf-8")) if listed.is_file() else []
    for number in range(len(names), count):
        made = place / "derived"
        shutil.rmtree(made, ignore_errors=True)
        derive(trained[number % len(trained)], made, number)
        names.append(store.add(made).folder.name)
        shutil.rmtree(made)
        if number % 64 == 63 or number == count - 1:
            listed.write_text(json.dumps(names), encoding="utf-8")
    by = SMALL if small else 1
    users = [f"u{number}" for number in range(1, 1 + USERS // by)]
    titles = (place / "titles.txt").read_text(encoding="utf-8").splitlines()
    return Crowd(store.folder, [store.folder / name for name in names[:count]], users, titles, ITEMS // by)


def trained_runs(place: Path, small: bool, backbone: str) -> list[Path]:
    """Train one run for each method on made-up ratings, unless they are there."""
    by = SMALL if small else 1
    methods = METHODS[1::2][:2] if small else METHODS
    runs = [place / "trained" / str(number) for number in range(len(methods))]
    for run, method in zip(runs, methods, strict=True):
        if not run.is_dir():
            recipe = made_recipe(place, RATINGS // by, USERS // by, ITEMS // by)
            train_quickly(recipe, run, backbone, method)
    return runs


def made_recipe(place: Path, ratings: int, users: int, items: int) -> Any:
    """Write made-up ratings into a folder, and return the recipe that is proposed for them."""
    import pyarrow as pa
    from made_up import made_up
    from pyarrow import csv

    from llmrec_peft.custom.propose import propose
    from llmrec_peft.data.dataset import arrow, column

    data = place / "data"
    data.mkdir(parents=True, exist_ok=True)
    dataset = made_up(ratings, users, items)
    table = arrow(dataset.interactions)
    names = {"user": "user_id", "item": "item_id", "time": "timestamp", "rating": "rating"}
    csv.write_csv(pa.table({name: table[own] for name, own in names.items()}), data / "interactions.csv")
    csv.write_csv(arrow(dataset.items).select(["item_id", "title"]), data / "items.csv")
    (place / "titles.txt").write_text("\n".join(column(dataset.items, "description")) + "\n", encoding="utf-8")
    return propose(data / "interactions.csv", data / "items.csv").recipe


def train_quickly(recipe: Any, run: Path, backbone: str, method: dict[str, Any]) -> None:
    """Train a recipe for one epoch."""
    from llmrec_peft.workflows.train import train

    run.parent.mkdir(exist_ok=True)
    train(recipe.changed({**QUICK, "backbone.name": backbone, "adapter": method}), run, show=False, overwrite=True)


def derive(source: Path, target: Path, seed: int) -> None:
    """Write a run like another one: every number of its tensors is multiplied by 1 and a little noise.

    Args:
        source: A trained run.
        target: Folder to write.
        seed: Seed of the noise; with it the run's digest is another one.
    """
    from safetensors import safe_open
    from safetensors.numpy import save_file

    target.mkdir()
    draw = np.random.default_rng(seed)
    for path in source.iterdir():
        if path.suffix == ".safetensors" and path.name not in LEFT_OUT:
            with safe_open(path, "np") as opened:
                texts = opened.metadata()
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
            moved = {name: _moved(values, draw) for name, values in tensors.items()}
            save_file(moved, target / path.name, texts)
        elif path.is_file() and path.name not in LEFT_OUT:
            os.link(path, target / path.name)
    _seal(target, source)
    _add_scores(target)
    _seal(target, source)


def _seal(target: Path, source: Path) -> None:
    from llmrec_peft.artifact.manifest import make_manifest, write_json

    recorded = json.loads((source / "manifest.json").read_text(encoding="utf-8"))
    (target / "manifest.json").unlink(missing_ok=True)
    made = make_manifest(target, recorded["base"], recorded["version"])
    write_json(target / "manifest.json", made.model_dump(mode="json"))


def _add_scores(target: Path) -> None:
    """Write what a training writes of its run's scores."""
    import torch

    from llmrec_peft.run.canary import write_scores
    from llmrec_peft.run.language_model import LanguageModel
    from llmrec_peft.run.read_tenant import read_tenant

    cpu = torch.device("cpu")
    tenant = read_tenant(target, cpu, lambda manifest, recipe: LanguageModel(recipe.backbone, manifest.base, cpu))
    write_scores(target, tenant)


def _moved(values: np.ndarray[Any, Any], draw: np.random.Generator) -> np.ndarray[Any, Any]:
    if values.dtype != np.float32:
        return values
    return values * (1 + NOISE * draw.standard_normal(values.shape, np.float32))
