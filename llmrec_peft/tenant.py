"""Tenant: everything of one run but the base model; adapter, head, signals and items stay together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from llmrec_peft import registry
from llmrec_peft.artifact.manifest import Manifest, read_manifest
from llmrec_peft.artifact.tables import ItemTable, read_items, read_seen, read_vocabulary
from llmrec_peft.artifact.tensors import load_into, read_tensors
from llmrec_peft.catalogue import Catalogue, Recommendations, ScoredItem
from llmrec_peft.data.batches import Batch
from llmrec_peft.data.vocabulary import UNKNOWN, Vocabulary
from llmrec_peft.errors import InputError
from llmrec_peft.heads.contract import HeadContext
from llmrec_peft.language_model import TenantAdapter
from llmrec_peft.model import RecModel, build_head
from llmrec_peft.recipe import Recipe
from llmrec_peft.recipe_yaml import read_yaml
from llmrec_peft.signals.contract import SignalContext


@dataclass
class Tenant:
    """A run in memory.

    Attributes:
        recipe: Resolved recipe of the run.
        model: Trained and folded model.
        vocabulary: Known users and items.
        items: Titles, texts and popularity in vocabulary order.
        catalogue: What can be recommended.
        seen: Item indices that each user index has met.
        manifest: What the run folder says of itself; None for a run that was not saved yet.
        adapter: What goes into the base; None for a run that was not saved yet.
    """

    recipe: Recipe
    model: RecModel
    vocabulary: Vocabulary
    items: ItemTable
    catalogue: Catalogue
    seen: list[NDArray[np.int64]]
    manifest: Manifest | None = None
    adapter: TenantAdapter | None = None

    def score(self, user: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Predicted labels of user indices and rows of the catalogue, float32 [n]."""
        vectors = self.catalogue.vectors
        device = self.model.device
        batch = Batch(
            user=torch.from_numpy(user).to(device),
            item=torch.from_numpy(self.catalogue.table_index[rows]).to(device),
            item_text=None if vectors is None else vectors[torch.from_numpy(rows).to(device)],
        )
        with torch.no_grad():
            scores: NDArray[np.float32] = self.model(batch).scores.float().cpu().numpy()
        return scores

    def recommend(self, user_id: str, k: int, seen: bool) -> Recommendations:
        """The best `k` items of a user, those he has met left out unless `seen`."""
        user = int(self.vocabulary.user_indices([user_id])[0])
        rows = np.arange(len(self.catalogue.ids), dtype=np.int64)
        if not seen:
            rows = rows[~np.isin(self.catalogue.table_index, self.seen[user]) | (self.catalogue.table_index == UNKNOWN)]
        scores = self.score(np.full(len(rows), user, np.int64), rows)
        personal = user != UNKNOWN
        key = scores if personal else self.catalogue.popularity[rows]
        best = np.argsort(-key, kind="stable")[:k]
        chosen = tuple(
            ScoredItem(self.catalogue.ids[rows[at]], self.catalogue.titles[rows[at]], round(float(scores[at]), 4))
            for at in best
        )
        return Recommendations(user_id, "personal" if personal else "popularity", chosen)


def read_tenant(folder: Path, device: torch.device) -> Tenant:
    """Read a run folder after verifying every file against its manifest.

    Args:
        folder: Run folder.
        device: Where to compute.

    Raises:
        InputError: When the folder is not a whole run of this version.
    """
    manifest = read_manifest(folder)
    recipe = Recipe.from_plain(read_yaml(folder / "recipe.yaml"), where=str(folder / "recipe.yaml"))
    vocabulary = read_vocabulary(folder / "vocabulary.parquet")
    model = _load_model(folder, recipe, vocabulary)
    stored = read_tensors(folder / "item_vectors.safetensors")
    vectors = stored["text"].to(device) if "text" in stored else None
    items = read_items(folder / "items.parquet")
    return Tenant(
        recipe,
        model.to(device).eval(),
        vocabulary,
        items,
        catalogue_of(vocabulary, items, vectors),
        read_seen(folder / "seen.parquet", vocabulary.num_users),
        manifest,
        TenantAdapter(folder, manifest, recipe),
    )


def catalogue_of(vocabulary: Vocabulary, items: ItemTable, vectors: torch.Tensor | None) -> Catalogue:
    """The catalogue of a run's own items.

    Args:
        vocabulary: Known users and items.
        items: Titles, texts and popularity in vocabulary order.
        vectors: Text vectors of all item indices, [num_items, width], index 0 first.
    """
    return Catalogue(
        ids=list(vocabulary.items),
        titles=list(items.titles),
        table_index=np.arange(1, vocabulary.num_items, dtype=np.int64),
        popularity=items.popularity,
        vectors=None if vectors is None else vectors[1:],
    )


def _load_model(folder: Path, recipe: Recipe, vocabulary: Vocabulary) -> RecModel:
    """Build signals and head in the sizes of the saved tensors and fill them."""
    saved = read_tensors(folder / "signals.safetensors")
    signals = {}
    for name, options in recipe.signals.active.items():
        own = {key.removeprefix(f"{name}."): t for key, t in saved.items() if key.startswith(f"{name}.")}
        signal = registry.get("signals", name)(options)
        context = SignalContext(vocabulary.num_users, vocabulary.num_items, recipe.fusion.dim, None, None, None, own)
        try:
            signal.parts = signal.build(context)
        except KeyError as error:
            raise InputError(f"{folder / 'signals.safetensors'}: tensor {name}.{error.args[0]} is missing") from None
        signals[name] = signal
    head = build_head(recipe, HeadContext(recipe.fusion.dim, 0.0, (0.0, 0.0)))
    model = RecModel(signals, head, None)
    load_into(model.signal_parts, saved, folder / "signals.safetensors")
    load_into(model.head_parts, read_tensors(folder / "head.safetensors"), folder / "head.safetensors")
    return model
