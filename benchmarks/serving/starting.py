"""Starting and merging: does a tenant with little data gain from adapters of others, and does a merged adapter serve?

Tenants are shops of films, one a genre: each film of MovieLens-100K belongs to one shop, by the rarest of its genres,
and every shop has its own users and head. Three shops are new in turn and have 40 or 400 training ratings (and a
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
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from film_shops import SHOPS, Shop, Trained, recipe_of, shops_of
from safetensors.torch import load_file
from starting_table import ARMS, MERGES, write_table

from llmrec_peft.artifact.folder import whole_file
from llmrec_peft.artifact.hardware import hardware, versions
from llmrec_peft.backbone.adapter import SavedAdapter
from llmrec_peft.backbone.combination import Combination
from llmrec_peft.backbone.load import Backbone, load_backbone
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.intervals import group_interval
from llmrec_peft.evaluation.measures import measure_of
from llmrec_peft.experiment.starting import mean_cosine

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks/results/starting.json"
NEW = ("Horror", "Children's", "Romance")
SIZES = (40, 400)
SEEDS = (1, 2, 3)
RESAMPLES = 2000

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


def measure(data: Path, parts: Sequence[str], keep: Callable[[dict[str, Any]], None]) -> None:
    """Train everything; what is there is kept after each part.

    Args:
        data: Folder that holds ml-100k.
        parts: What to measure, of ``starts`` and ``merges``.
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
            "hardware": hardware("cpu"),
            "versions": versions(),
        }
        parents = {(name, seed): shops[name].fit(seed, None) for name in SHOPS for seed in SEEDS}
        print(f"{len(parents)} shops trained: {time.monotonic() - clock:.0f} s", file=sys.stderr)
        if "starts" in parts:
            result["starts"] = []
            for record in measure_starts(shops, parents):
                result["starts"].append(record)
                keep(result)
                print(f"{record['ratings']} ratings: {time.monotonic() - clock:.0f} s", file=sys.stderr)
        if "merges" in parts:
            result["merges"] = measure_merges(shops, everything, parents, place)
            keep(result)
            print(f"merges: {time.monotonic() - clock:.0f} s", file=sys.stderr)


def main() -> None:
    """Measure and write, or write the tables of what was measured."""
    options = argparse.ArgumentParser(description="Starting and merging adapters of film shops.")
    options.add_argument("--data", type=Path, help="Folder with ml-100k; without it the tables alone are written.")
    options.add_argument("--only", choices=["starts", "merges"], help="Measure one part; the other stays as it is.")
    options.add_argument("--out", type=Path, default=RESULT, help="File of the result.")
    given = options.parse_args()

    def keep(result: dict[str, Any]) -> None:
        before = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
        with whole_file(given.out) as partial:
            partial.write_text(json.dumps({**before, **result}, indent=1) + "\n", encoding="utf-8")

    if given.data is not None:
        measure(given.data, [given.only] if given.only else ["starts", "merges"], keep)
    write_table(json.loads(given.out.read_text(encoding="utf-8")), given.out.with_suffix(".md"))


if __name__ == "__main__":
    main()
