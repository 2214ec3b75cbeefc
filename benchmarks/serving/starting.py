"""Starting and merging: does a tenant with little data gain from adapters of others, and does a merged adapter serve?

Tenants are shops of films, one a genre: each film of MovieLens-100K belongs to one shop, by the rarest of its genres,
and every shop has its own users and head. Three shops are new in turn and have 40, 160 or 800 training ratings (and a
quarter of that for validation); their adapters begin anew, with the nearest other shop's, or with the mean of all
others'. No film has entries of its own: text says what it is. Besides, the adapters of all shops are merged, and each
shop's head answers with the merged one; beside it a joint run of all shops.

    python benchmarks/serving/starting.py --data DIR    # writes benchmarks/results/starting.json and .md

Differences are of the pooled RMSE over the three shops and seeds 1 to 3, with the 95 % interval of the bootstrap that
draws users (or films, whichever is wider) and seeds.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from starting_table import ARMS, MERGES, write_table

from llmrec_peft import registry
from llmrec_peft.artifact.folder import whole_file
from llmrec_peft.artifact.hardware import hardware, versions
from llmrec_peft.backbone.adapter import SavedAdapter
from llmrec_peft.backbone.combination import Combination
from llmrec_peft.backbone.encoded_texts import EncodedTexts
from llmrec_peft.backbone.load import Backbone, load_backbone
from llmrec_peft.data.dataset import column, selected
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.intervals import group_interval
from llmrec_peft.evaluation.measures import measure_of
from llmrec_peft.evaluation.protocol import outcome_of
from llmrec_peft.experiment.experiment import Experiment
from llmrec_peft.experiment.fitting import fit_variant
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.experiment.prepared import Prepared
from llmrec_peft.experiment.staging import recommender_of
from llmrec_peft.experiment.starting import beginning, mean_cosine
from llmrec_peft.experiment.texts import Texts
from llmrec_peft.plugins import RecDataset, interactions_table, table
from llmrec_peft.recipe import Recipe, load_recipe
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.training.accelerator import make_accelerator

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks/results/starting.json"
SHOPS = ("Horror", "Children's", "Sci-Fi", "Romance", "Thriller", "Comedy", "Drama")
"""Genres from the rarest kind of shop to the commonest; a film is sold where its first of them is."""
NEW = ("Horror", "Children's", "Romance")
SIZES = (40, 160, 800)
SEEDS = (1, 2, 3)
CHANGES: dict[str, Any] = {
    "data.split": "official",
    "adapter.layers": "top-1",
    "training.epochs": 6,
    "evaluation.blend": False,
    "evaluation.ablations": [],
    "training.refit": False,
}
RESAMPLES = 2000
TEXT = "signal_parts.text."


@dataclass(frozen=True)
class Trained:
    """What a fit left.

    Attributes:
        scores: Its predictions of the shop's test part.
        adapter: Its saved adapter; None without one.
        text: What its text signal has learned.
        recommender: The run in memory.
        seconds: What the fit took.
    """

    scores: np.ndarray
    adapter: SavedAdapter | None
    text: dict[str, torch.Tensor]
    recommender: Recommender
    seconds: float


class Shop:
    """One tenant's data, the frozen base over its texts, and how it is trained."""

    def __init__(self, name: str, dataset: RecDataset, backbone: Backbone, place: Path) -> None:
        self.name, self.backbone, self.place = name, backbone, place
        self.dataset = dataset
        self._texts: Texts | None = None

    def prepared(self, seed: int, size: int | None, adapter: bool = True) -> Prepared:
        """Return the shop's data with `size` training ratings and size / 4 for validation, drawn by the seed."""
        part = np.array(column(self.dataset.interactions, "part"))
        rows = np.flatnonzero(part != "test")
        order = np.random.default_rng([seed, len(part)]).permutation(rows)
        count = len(rows) if size is None else size + size // 4
        kept = np.sort(np.concatenate([order[:count], np.flatnonzero(part == "test")]))
        parts = part.copy()
        parts[rows] = "train"
        parts[order[: count // 5]] = "valid"
        used = selected(self.dataset.interactions, kept)
        told = {name: column(used, name) for name in ("user_id", "item_id", "rating", "timestamp")}
        data = replace(self.dataset, interactions=interactions_table(**told, part=parts[kept].tolist()))
        return prepare(recipe_of(seed, adapter), data)

    def fit(
        self, seed: int, size: int | None, begin: Sequence[SavedAdapter] = (), adapter: bool = True, text: Any = None
    ) -> Trained:
        """Train the shop once.

        Args:
            seed: Seed of the training and of what is drawn.
            size: Training ratings; None for all.
            begin: Saved adapters with whose mean its adapter begins.
            adapter: Whether an adapter is trained.
            text: Tensors with which the text signal begins, too.
        """
        prepared = self.prepared(seed, size, adapter)
        recipe, accelerator = prepared.recipe, make_accelerator([], self.place)
        self.backbone.detach()
        self._texts = self._texts or Texts(self.backbone, prepared, recipe, self.place)
        texts = self._texts.tuned_by(recipe)
        if adapter and begin:
            adapter_section = recipe.adapter
            method = registry.get("adapters", adapter_section.method)(adapter_section.config)
            texts.begin_with(beginning(begin, method, self.backbone), text or {})
        with tempfile.TemporaryDirectory(dir=self.place) as folder:
            experiment = Experiment(prepared, accelerator, Path(folder), texts)
            started = time.process_time()
            fitted = fit_variant(experiment, recipe, "model", "fit")
            seconds = time.process_time() - started
        saved = None
        if adapter:
            place = Path(tempfile.mkdtemp(dir=self.place))
            method: Any = texts.method
            method.save(fitted.model.encoder.model, self.backbone, place)
            saved = SavedAdapter(method, place)
        scores = predicted(fitted.model, prepared)
        state = fitted.model.trained_state().items()
        text = {name: one.clone() for name, one in state if name.startswith(TEXT) and "standard" not in name}
        recommender = recommender_of(fitted.model, prepared, texts)
        self.backbone.detach()
        return Trained(scores, saved, text, recommender, seconds)

    def with_adapter(self, trained: Trained, saved: SavedAdapter, seed: int) -> np.ndarray:
        """Predict the test part by the shop's trained head over texts that another adapter has encoded."""
        prepared = self.prepared(seed, None)
        model = saved.method.load(self.backbone, saved.folder)
        try:
            vectors = encoded(self.backbone, model, prepared)
        finally:
            self.backbone.detach()
        return predicted(trained.recommender.with_vectors(vectors[1:]).model, prepared)

    def centre(self) -> torch.Tensor:
        """Vectors of the shop's items as the frozen base reads them."""
        self.backbone.detach()
        return encoded(self.backbone, self.backbone.model, self.prepared(1, None))[1:]


def recipe_of(seed: int, adapter: bool) -> Recipe:
    """Return the recipe of one shop."""
    changes = {**CHANGES, "seed": seed, **({} if adapter else {"adapter": {"method": "none"}})}
    return load_recipe(str(ROOT / "examples/movies-cold-items.yaml"), changes=changes)


def encoded(backbone: Backbone, model: Any, prepared: Prepared) -> torch.Tensor:
    """Encode all item texts by a model, float32 [num_items, width]."""
    reader = backbone.reads(prepared.recipe.backbone)
    encoder = reader.encoder(model, list(backbone.model.modules())).eval()
    tokens = reader.tokenized(prepared.texts, prepared.recipe.views.item.max_length)
    with torch.no_grad(), EncodedTexts(encoder, tokens).fixed() as vectors:
        return vectors.part(0, len(prepared.texts))


def predicted(model: Any, prepared: Prepared) -> np.ndarray:
    """Predict the test part's stars."""
    protocol = prepared.protocol
    with model.scoring(model.plan.keys(prepared.test, 1)):
        return np.asarray(outcome_of(model, "rating", prepared.test, protocol, protocol.learned))


def shops_of(data: Path, backbone: Backbone, place: Path) -> tuple[dict[str, Shop], Shop]:
    """Divide MovieLens-100K into shops; return them, and all of them as one. Users of two shops are two users.

    Four tenths of the ratings, the same for all seeds, are test.
    """
    whole: RecDataset = registry.get("readers", "movies")().read(data / "ml-100k", None)
    items, genres = column(whole.items, "item_id"), column(whole.items, "genres")
    shop_of = {item: next((shop for shop in SHOPS if shop in own), "") for item, own in zip(items, genres, strict=True)}
    told = {name: column(whole.interactions, name) for name in ("user_id", "item_id", "rating", "timestamp")}
    test = np.random.default_rng(0).random(len(told["rating"])) < 0.4
    found = {}
    for name in (*SHOPS, ""):
        rows = [at for at, item in enumerate(told["item_id"]) if shop_of[item] and name in ("", shop_of[item])]
        own = {key: [values[at] for at in rows] for key, values in told.items()}
        own["user_id"] = [f"{shop_of[told['item_id'][at]]}/{told['user_id'][at]}" for at in rows]
        sold = np.flatnonzero([bool(shop_of[item]) and name in ("", shop_of[item]) for item in items])
        dataset = replace(
            whole,
            interactions=interactions_table(**own, part=["test" if test[at] else "train" for at in rows]),
            users=table({"user_id": sorted(set(own["user_id"]))}),
            items=selected(whole.items, sold.astype(np.int64)),
        )
        found[name] = Shop(name, dataset, backbone, place)
    everything = found.pop("")
    return found, everything


Scores = dict[str, list[np.ndarray]]
"""Predictions by arm, one array a seed."""


def measure_starts(shops: Mapping[str, Shop], parents: Mapping[tuple[str, int], Trained]) -> Iterable[dict[str, Any]]:
    """Train the new shops with few ratings from each start; yield one record a size."""
    centres = {name: shop.centre() for name, shop in shops.items()}
    for size in SIZES:
        scores: Scores = {arm: [] for arm in ARMS}
        seconds = dict.fromkeys(ARMS, 0.0)
        for seed in SEEDS:
            of_seed: dict[str, list[np.ndarray]] = {arm: [] for arm in ARMS}
            for name in NEW:
                shop, others = shops[name], [other for other in SHOPS if other != name]
                nearest = max(others, key=lambda other, own=centres[name]: mean_cosine(own, centres[other]))
                one = parents[nearest, seed]
                begins: dict[str, Any] = {
                    "frozen": {"adapter": False},
                    "cold": {},
                    "nearest": {"begin": [_saved(one)]},
                    "mean": {"begin": [_saved(parents[other, seed]) for other in others]},
                    "nearest and text signal": {"begin": [_saved(one)], "text": one.text},
                }
                for arm, how in begins.items():
                    fitted = shop.fit(seed, size, **how)
                    of_seed[arm].append(fitted.scores)
                    seconds[arm] += fitted.seconds
            for arm in ARMS:
                scores[arm].append(np.concatenate(of_seed[arm]))
        test = _tests([shops[name] for name in NEW])
        yield {"ratings": size, "seconds": seconds, **compared(scores, test, "cold")}


def measure_merges(
    shops: Mapping[str, Shop], everything: Shop, parents: Mapping[tuple[str, int], Trained], place: Path
) -> dict[str, Any]:
    """Let every shop's head answer with merged adapters of all shops, and train one run of all shops."""
    scores: Scores = {arm: [] for arm in MERGES}
    errors: dict[str, list[float]] = {"PEFT's linear, of factors": [], "rank 8": []}
    for seed in SEEDS:
        saved = [_saved(parents[name, seed]) for name in SHOPS]
        backbone = everything.backbone
        merged = {
            "linear": _merged(saved, Combination.mean(len(saved)), backbone, place, None),
            "linear, rank 8": _merged(saved, Combination.mean(len(saved)), backbone, place, 8),
        }
        for how in ("ties", "dare-linear", "dare-ties"):
            asked = Combination.checked(len(saved), None, how, 0.5, seed)
            merged[how] = _merged(saved, asked, backbone, place, None)
        whole = _updates(merged["linear"], backbone)
        errors["rank 8"].append(_apart(whole, _updates(merged["linear, rank 8"], backbone)))
        errors["PEFT's linear, of factors"].append(_apart(whole, _of_factors(saved, backbone)))
        together = everything.fit(seed, None)
        users, _ = everything.prepared(seed, None).ids(everything.prepared(seed, None).test)
        of_seed: dict[str, list[np.ndarray]] = {arm: [] for arm in MERGES}
        for at, name in enumerate(SHOPS):
            shop, own = shops[name], parents[name, seed]
            of_seed["own"].append(own.scores)
            other = saved[(at + 1) % len(SHOPS)]
            of_seed["another shop's"].append(shop.with_adapter(own, other, seed))
            for how, adapter in merged.items():
                of_seed[how].append(shop.with_adapter(own, adapter, seed))
            mine = np.flatnonzero([user.startswith(f"{name}/") for user in users])
            of_seed["joint run"].append(together.scores[mine])
        for arm in MERGES:
            scores[arm].append(np.concatenate(of_seed[arm]))
    return {"errors": errors, **compared(scores, _tests([shops[name] for name in SHOPS]), "own")}


def compared(scores: Scores, test: Interactions, against: str) -> dict[str, Any]:
    """Return each arm's RMSE by seed, and its difference to one arm with the wider interval."""
    measure = measure_of("rating", lambda label: label, np.zeros(1, np.int64))
    weighted = {arm: [measure.weighted("rmse", one, test) for one in of_arm] for arm, of_arm in scores.items()}
    even, arms = np.ones(len(test)), {}
    for arm, of_arm in weighted.items():
        arms[arm] = {"rmse": [round(figure(even), 5) for figure in of_arm]}
        if arm != against:
            intervals = {
                unit: group_interval(of_arm, weighted[against], cluster, RESAMPLES, paired=True)
                for unit, cluster in measure.clusters("rmse", test).items()
            }
            unit = max(intervals, key=lambda one: intervals[one].high - intervals[one].low)
            one = intervals[unit]
            arms[arm] |= {"difference": one.difference, "low": one.low, "high": one.high, "unit": unit}
    return {"test": len(test), "against": against, "arms": arms}


def _tests(shops: Sequence[Shop]) -> Interactions:
    """Join the test parts of shops; users and films of different shops are different ones."""
    parts = [shop.prepared(1, None).test for shop in shops]
    user = np.concatenate([part.user + 10_000 * at for at, part in enumerate(parts)])
    item = np.concatenate([part.item + 10_000 * at for at, part in enumerate(parts)])
    return Interactions(user, item, np.concatenate([part.label for part in parts]), np.zeros(len(user), np.int64))


def _saved(trained: Trained) -> SavedAdapter:
    if trained.adapter is None:
        raise ValueError("a fit without an adapter")
    return trained.adapter


def _merged(
    saved: Sequence[SavedAdapter], how: Combination, backbone: Backbone, place: Path, rank: int | None
) -> SavedAdapter:
    first, *others = (one.method for one in saved)
    method = type(first)(first.combined_options(others, rank, backbone))
    folder = Path(tempfile.mkdtemp(dir=place))
    method.combine(saved, how, backbone, folder)
    return SavedAdapter(method, folder)


def _factors(saved: SavedAdapter, backbone: Backbone) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """A and B of every layer, and the scale inside A."""
    config: Any = saved.method.saved_config(backbone)  # type: ignore[attr-defined]
    tensors = load_file(saved.folder / "adapter_model.safetensors")
    pairs = {name: name.replace("lora_A", "lora_B") for name in tensors if "lora_A" in name}
    return {first: (tensors[first] * config.lora_alpha / config.r, tensors[second]) for first, second in pairs.items()}


def _updates(saved: SavedAdapter, backbone: Backbone) -> dict[str, torch.Tensor]:
    return {name: b @ a for name, (a, b) in _factors(saved, backbone).items()}


def _of_factors(saved: Sequence[SavedAdapter], backbone: Backbone) -> dict[str, torch.Tensor]:
    """Updates of the mean that adds factors, as PEFT's combination "linear" does for equal weights."""
    every = [_factors(one, backbone) for one in saved]
    return {
        name: sum(one[name][1] for one in every) @ sum(one[name][0] for one in every) / len(every)  # type: ignore[operator]
        for name in every[0]
    }


def _apart(whole: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> float:
    """Distance of two sets of updates, relative to the first."""
    apart = sum(float((whole[name] - other[name]).square().sum()) for name in whole)
    return float(np.sqrt(apart / sum(float(one.square().sum()) for one in whole.values())))


def measure(data: Path, keep: Callable[[dict[str, Any]], None]) -> None:
    """Train everything; what is there is kept after each part.

    Args:
        data: Folder that holds ml-100k.
        keep: Receives the result so far.
    """
    torch.set_num_threads(1)
    backbone = load_backbone(recipe_of(1, True).backbone, torch.device("cpu"))
    with tempfile.TemporaryDirectory(prefix="starting-") as folder:
        place, clock = Path(folder), time.monotonic()
        shops, everything = shops_of(data, backbone, place)
        result: dict[str, Any] = {
            "command": "python benchmarks/serving/starting.py --data data",
            "date": datetime.now(UTC).date().isoformat(),
            "shops": {name: len(shop.prepared(1, None).split.fit) for name, shop in shops.items()},
            "new": list(NEW),
            "seeds": list(SEEDS),
            "starts": [],
            "hardware": hardware("cpu"),
            "versions": versions(),
        }
        parents = {(name, seed): shops[name].fit(seed, None) for name in SHOPS for seed in SEEDS}
        print(f"{len(parents)} shops trained: {time.monotonic() - clock:.0f} s", file=sys.stderr)
        for record in measure_starts(shops, parents):
            result["starts"].append(record)
            keep(result)
            print(f"{record['ratings']} ratings: {time.monotonic() - clock:.0f} s", file=sys.stderr)
        result["merges"] = measure_merges(shops, everything, parents, place)
        keep(result)
        print(f"merges: {time.monotonic() - clock:.0f} s", file=sys.stderr)


def main() -> None:
    """Measure and write, or write the tables of what was measured."""
    options = argparse.ArgumentParser(description="Starting and merging adapters of film shops.")
    options.add_argument("--data", type=Path, help="Folder with ml-100k; without it the tables alone are written.")
    given = options.parse_args()

    def keep(result: dict[str, Any]) -> None:
        with whole_file(RESULT) as partial:
            partial.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")

    if given.data is not None:
        measure(given.data, keep)
    write_table(json.loads(RESULT.read_text(encoding="utf-8")), RESULT.with_suffix(".md"))


if __name__ == "__main__":
    main()
