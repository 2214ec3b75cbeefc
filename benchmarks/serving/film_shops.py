"""Film shops: tenants made of MovieLens-100K, one a genre, and how one of them is trained once.

Each film belongs to one shop, by the first of `SHOPS` among its genres. Users of two shops are two users.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llmrec_peft import registry
from llmrec_peft.backbone.adapter import SavedAdapter
from llmrec_peft.backbone.encoded_texts import EncodedTexts
from llmrec_peft.backbone.load import Backbone
from llmrec_peft.data.dataset import column, selected
from llmrec_peft.evaluation.protocol import outcome_of
from llmrec_peft.experiment import fitting
from llmrec_peft.experiment.experiment import Experiment
from llmrec_peft.experiment.fitting import fit_variant
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.experiment.prepared import Prepared
from llmrec_peft.experiment.staging import recommender_of
from llmrec_peft.experiment.starting import beginning
from llmrec_peft.experiment.texts import Texts
from llmrec_peft.plugins import RecDataset, interactions_table, table
from llmrec_peft.recipe import Recipe, load_recipe
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.training.accelerator import make_accelerator

ROOT = Path(__file__).parents[2]
SHOPS = ("Horror", "Children's", "Sci-Fi", "Romance", "Thriller")
"""Genres from the rarest kind of shop to the commonest; a film is sold where its first of them is."""
CHANGES: dict[str, Any] = {
    "data.split": "official",
    "adapter.layers": "top-1",
    "training.epochs": 8,
    "training.items_per_batch": 16,
    "evaluation.blend": False,
    "evaluation.ablations": [],
    "training.refit": False,
}
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
            texts.begin_with(beginning(begin, method, self.backbone))
        with tempfile.TemporaryDirectory(dir=self.place) as folder:
            experiment = Experiment(prepared, accelerator, Path(folder), texts)
            started = time.process_time()
            with text_signal(text or {}):
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


@contextlib.contextmanager
def text_signal(begin: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Let fresh models begin with these tensors of the text signal inside the block."""

    def filled(*arguments: Any) -> Any:
        model = made(*arguments)
        own = model.trained_state()
        for name, tensor in begin.items():
            own[name].copy_(tensor)
        return model

    made = fitting.new_model
    fitting.new_model = filled
    try:
        yield
    finally:
        fitting.new_model = made


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
