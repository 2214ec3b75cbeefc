"""Tenant: everything of one run but the base model; adapter, heads, signals and items stay together."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from llmrec_peft import registry
from llmrec_peft.artifact.manifest import Manifest, read_manifest
from llmrec_peft.artifact.tables import ItemTable, read_items, read_seen, read_users, read_vocabulary
from llmrec_peft.artifact.tensors import load_into, read_tensors, read_texts
from llmrec_peft.data.batches import Batch
from llmrec_peft.data.histories import Histories
from llmrec_peft.data.vocabulary import UNKNOWN, Vocabulary
from llmrec_peft.errors import InputError
from llmrec_peft.model import RecModel, plan_texts
from llmrec_peft.model.build import build_heads, build_model, build_signals
from llmrec_peft.model.contexts import loading_contexts
from llmrec_peft.recipe import Recipe
from llmrec_peft.recipe.yaml_file import read_yaml
from llmrec_peft.run.catalogue import Catalogue, Recommendations, ScoredItem
from llmrec_peft.run.language_model import TenantAdapter

SIGNAL_NAMES = "signal_names"
"""Key of the header of ``signals.safetensors`` that holds what signals call their numbers."""
EncodeExamples = Callable[[str, Sequence[int], Sequence[int], Histories, "torch.Tensor | None"], "torch.Tensor"]
"""Vectors of examples' texts by view (``user`` or ``prompt``), user indices, rows of the catalogue, histories, and
vectors to be put in."""


@dataclass
class Tenant:
    """A run in memory.

    Attributes:
        recipe: Resolved recipe of the run.
        model: Trained and folded model.
        vocabulary: Known users and items.
        items: Titles, texts and popularity in vocabulary order.
        catalogue: What can be recommended.
        seen: What each user index has met, oldest first.
        users: What the owner says of each user index, where prompts name it.
        user_vectors: Vectors of users' texts, float32 [num_users, width]; None where none are read.
        manifest: What the run folder says of itself; None for a run that was not saved yet.
        adapter: What goes into the base; None for a run that was not saved yet.
    """

    recipe: Recipe
    model: RecModel
    vocabulary: Vocabulary
    items: ItemTable
    catalogue: Catalogue
    seen: Histories
    users: Sequence[Mapping[str, Any]] = field(default_factory=list)
    user_vectors: torch.Tensor | None = None
    manifest: Manifest | None = None
    adapter: TenantAdapter | None = None

    def batch(
        self,
        user: NDArray[np.int64],
        rows: NDArray[np.int64],
        histories: Histories | None = None,
        encode: EncodeExamples | None = None,
    ) -> Batch:
        """Pairs with everything that scoring them reads.

        Args:
            user: User indices, [n].
            rows: Rows of the catalogue, [n].
            histories: What each user had met; by default what the run knows.
            encode: Encodes texts of examples, where the run reads such.

        Raises:
            InputError: When the run reads prompts and nothing can encode them.
        """
        plan, vectors, device = self.model.plan, self.catalogue.vectors, self.model.device
        batch = Batch(
            user=torch.from_numpy(user).to(device),
            item=torch.from_numpy(self.catalogue.table_index[rows]).to(device),
            item_text=None if vectors is None else vectors[torch.from_numpy(rows).to(device)],
        )
        told = self.seen.take(user) if histories is None else histories
        if plan.history_length is not None:
            batch.read(told, plan.history_length, _latest(told, len(user)))
            if plan.history and batch.history is not None:
                batch.history_text = self._texts_of(batch.history)
        if plan.user is not None:
            if self.user_vectors is not None and (histories is None or not plan.user_by_example):
                batch.user_text = self.user_vectors[batch.user]
            else:
                batch.user_text = self._encoded(encode, "user", user, rows, told, None)
        if plan.prompt is not None:
            batch.prompt_text = self._encoded(encode, "prompt", user, rows, told, self.model.inserted(batch))
        return batch

    def _texts_of(self, items: torch.Tensor) -> torch.Tensor:
        """Text vectors of item indices; zero for index 0."""
        vectors = self.catalogue.vectors
        assert vectors is not None  # noqa: S101 - the plan reads texts of items
        found: torch.Tensor = vectors[(items - 1).clamp(min=0)] * (items > 0).unsqueeze(-1)
        return found

    def _encoded(
        self,
        encode: EncodeExamples | None,
        view: str,
        user: NDArray[np.int64],
        rows: NDArray[np.int64],
        told: Histories,
        inserted: torch.Tensor | None,
    ) -> torch.Tensor:
        if encode is None:
            raise InputError("this run reads prompts: its language model has to be there to score")
        return encode(view, user.tolist(), rows.tolist(), told, inserted).to(self.model.device)

    def score(
        self,
        user: NDArray[np.int64],
        rows: NDArray[np.int64],
        histories: Histories | None = None,
        encode: EncodeExamples | None = None,
    ) -> NDArray[np.float32]:
        """Predicted labels, probabilities or scores of user indices and rows of the catalogue, float32 [n]."""
        with torch.no_grad():
            batch = self.batch(user, rows, histories, encode)
            scores: NDArray[np.float32] = self.model(batch).scores.float().cpu().numpy()
        return scores

    def recommend(self, user_id: str, k: int, seen: bool, encode: EncodeExamples | None = None) -> Recommendations:
        """The best `k` items of a user, those he has met left out unless `seen`."""
        user = int(self.vocabulary.user_indices([user_id])[0])
        rows = np.arange(len(self.catalogue.ids), dtype=np.int64)
        if not seen:
            met = self.seen.of(user)[0]
            rows = rows[~np.isin(self.catalogue.table_index, met) | (self.catalogue.table_index == UNKNOWN)]
        scores = self.score(np.full(len(rows), user, np.int64), rows, None, encode)
        personal = user != UNKNOWN
        key = scores if personal else self.catalogue.popularity[rows]
        best = np.argsort(-key, kind="stable")[:k]
        chosen = tuple(
            ScoredItem(self.catalogue.ids[rows[at]], self.catalogue.titles[rows[at]], round(float(scores[at]), 4))
            for at in best
        )
        return Recommendations(user_id, "personal" if personal else "popularity", chosen)


def _latest(told: Histories, rows: int) -> NDArray[np.int64] | None:
    """The moment of asking, where histories know times: that of the latest thing known at all, int64 [rows]."""
    return None if told.time is None else np.full(rows, told.time.max(initial=0), np.int64)


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
    if registry.get("heads", recipe.head.name).task == "writing":
        raise InputError(f"{folder} holds a writer, not a recommender: it is for llmrec explain --generate --writer")
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
        read_users(folder / "users.parquet", vocabulary.num_users),
        stored["user"].to(device) if "user" in stored else None,
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
    """Build signals, fusion and heads in the sizes of the saved tensors and fill them."""
    saved = read_tensors(folder / "signals.safetensors")
    of_head = read_tensors(folder / "head.safetensors")
    fusion = {name.removeprefix("fusion."): t for name, t in of_head.items() if name.startswith("fusion.")}
    of_head = {name: tensor for name, tensor in of_head.items() if not name.startswith("fusion.")}
    contexts = loading_contexts(recipe, vocabulary.num_users, vocabulary.num_items)
    try:
        heads = build_heads(recipe, contexts.head, of_head)
    except KeyError as error:
        raise InputError(f"{folder / 'head.safetensors'}: tensor {error.args[0]} is missing") from None
    try:
        signals = build_signals(recipe, contexts.signal, saved, _signal_names(folder / "signals.safetensors"))
    except KeyError as error:
        raise InputError(f"{folder / 'signals.safetensors'}: tensor {error.args[0]} is missing") from None
    plan = plan_texts(recipe, vocabulary.num_items, vocabulary.num_users, 0)
    model = build_model(recipe, signals, heads, None, None, plan)
    load_into(model.signal_parts, saved, folder / "signals.safetensors")
    load_into(model.head_parts, of_head, folder / "head.safetensors")
    load_into(model.fusion, fusion, folder / "head.safetensors")
    return model


def _signal_names(path: Path) -> dict[str, dict[str, list[str]]]:
    """What signals call their numbers (`Signal.names`), by signal.

    Raises:
        InputError: When the header holds something else.
    """
    try:
        found = json.loads(read_texts(path).get(SIGNAL_NAMES, "{}"))
        return {
            str(signal): {str(kind): [str(name) for name in listed] for kind, listed in lists.items()}
            for signal, lists in found.items()
        }
    except (ValueError, AttributeError, TypeError):
        raise InputError(f"{path}: {SIGNAL_NAMES} in its header are no lists of names by signal") from None
