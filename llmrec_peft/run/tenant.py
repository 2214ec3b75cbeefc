"""Tenant: everything of one run but the base model: adapter, heads, signals, users and items."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from llmrec_peft import registry
from llmrec_peft.artifact.manifest import Manifest, read_manifest
from llmrec_peft.artifact.tables import ItemTable, read_items, read_seen, read_users, read_vocabulary
from llmrec_peft.backbone.tensor_files import load_into, read_tensors, read_texts
from llmrec_peft.data.batches import Batch
from llmrec_peft.data.histories import Histories
from llmrec_peft.data.vocabulary import UNKNOWN, Vocabulary
from llmrec_peft.errors import InputError
from llmrec_peft.model import RecModel, plan_texts
from llmrec_peft.model.build import build_heads, build_model, build_signals
from llmrec_peft.model.contexts import loading_contexts
from llmrec_peft.model.text_source import EncodedSource
from llmrec_peft.recipe import Recipe
from llmrec_peft.recipe.yaml_file import read_yaml
from llmrec_peft.run.candidates import CELLS, Candidates, best
from llmrec_peft.run.catalogue import Catalogue, Recommendations, ScoredItem
from llmrec_peft.run.language_model import LanguageModel, TenantAdapter
from llmrec_peft.run.stored_texts import StoredTexts
from llmrec_peft.run.tuned_model import TunedModel

SIGNAL_NAMES = "signal_names"
"""Key in the header of ``signals.safetensors`` for the signals' names of their indices."""
PAIRS = 1024
"""Pairs that a head which reads prompts scores per chunk."""


@dataclass(kw_only=True)
class Tenant:
    """A run in memory.

    Attributes:
        recipe: Resolved recipe of the run.
        model: Trained and folded model.
        vocabulary: Known users and items.
        items: Titles, texts and popularity in vocabulary order.
        catalogue: Items that can be recommended; `take` replaces it.
        seen: History of each user index, oldest first.
        users: The owner's columns of each user index, if prompts name them.
        user_vectors: Vectors of users' texts, float32 [num_users, width]; None if none are read.
    """

    recipe: Recipe
    model: RecModel
    vocabulary: Vocabulary
    items: ItemTable
    catalogue: Catalogue
    seen: Histories
    users: Sequence[Mapping[str, Any]] = field(default_factory=list)
    user_vectors: torch.Tensor | None = None
    _candidates: Candidates | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.take(self.catalogue)

    @property
    def tuned(self) -> TunedModel | None:
        """The run's language model; None for a run that was not loaded from a folder."""
        return None

    def take(self, catalogue: Catalogue) -> None:
        """Replace the catalogue."""
        self.catalogue = catalogue
        self.model.texts = StoredTexts(self.model.plan, catalogue, self.user_vectors, self.tuned)
        self._candidates = None

    def with_vectors(self, vectors: torch.Tensor) -> Self:
        """Return the same run with other vectors of its items' texts, [items of the catalogue, width]."""
        catalogue = replace(self.catalogue, vectors=vectors.to(self.model.device))
        return replace(self, model=self.model.sharing(), catalogue=catalogue)

    def batch(self, user: NDArray[np.int64], rows: NDArray[np.int64], histories: Histories | None = None) -> Batch:
        """Return pairs and their histories; the model adds vectors of texts.

        Args:
            user: User indices, [n].
            rows: Rows of the catalogue, [n].
            histories: Each user's history; by default the run's own, and then users' stored texts are read.
        """
        plan, device = self.model.plan, self.model.device
        batch = Batch(
            user=torch.from_numpy(user).to(device),
            item=torch.from_numpy(self.catalogue.table_index[rows]).to(device),
            item_key=torch.from_numpy(rows + 1).to(device),
            example=None if histories is None else torch.arange(len(user), device=device),
        )
        known = self.seen.take(user) if histories is None else histories
        if plan.history_length is not None:
            batch.read(known, plan.history_length, _latest(known, len(user)))
        return batch

    def score(
        self, user: NDArray[np.int64], rows: NDArray[np.int64], histories: Histories | None = None
    ) -> NDArray[np.float32]:
        """Predict labels, probabilities or scores of user indices and rows of the catalogue, float32 [n]."""
        with torch.no_grad():
            scores: NDArray[np.float32] = self.model(self.batch(user, rows, histories)).scores.float().cpu().numpy()
        return scores

    def catalogue_scores(self, user: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score user indices for every row of the catalogue, float32 [users, items].

        Users and items are computed separately, once each, and combined in the head. A head that reads prompts has to
        read each pair, some at a time.
        """
        if self.model.head.reads_prompt():
            return self._pair_by_pair(user)
        if self._candidates is None:
            self._candidates = Candidates(self.model, self.catalogue)
        candidates, scores = self._candidates, []
        step = candidates.users_at_once(self.model.plan.history_length)
        for at in range(0, len(user), step):
            some = user[at : at + step]
            with torch.no_grad():
                batch = self.model.texts.filled(self.batch(some, np.zeros(len(some), np.int64)), own_items=False)
            scores.append(candidates.scores(batch))
        return scores[0] if len(scores) == 1 else np.concatenate([np.empty((0, candidates.count), np.float32), *scores])

    def _pair_by_pair(self, user: NDArray[np.int64]) -> NDArray[np.float32]:
        count = len(self.catalogue.ids)
        scores = np.empty((len(user), count), np.float32)
        for row, index in enumerate(user):
            for at in range(0, count, PAIRS):
                rows = np.arange(at, min(count, at + PAIRS), dtype=np.int64)
                scores[row, rows] = self.score(np.full(len(rows), index, np.int64), rows)
        return scores

    def recommend(self, user_ids: Sequence[str], k: int, seen: bool) -> list[Recommendations]:
        """Return the best `k` items of each user, without those of the user's history unless `seen`."""
        users = self.vocabulary.user_indices(user_ids)
        return [
            self._recommended(user_id, int(user), scores, k, seen)
            for some in _split(len(users), max(1, CELLS // max(1, len(self.catalogue.ids))))
            for user_id, user, scores in zip(
                list(user_ids)[some], users[some], self.catalogue_scores(users[some]), strict=True
            )
        ]

    def _recommended(self, user_id: str, user: int, scores: NDArray[np.float32], k: int, seen: bool) -> Recommendations:
        catalogue = self.catalogue
        allowed = np.ones(len(catalogue.ids), bool)
        if not seen:
            own = self.seen.of(user)[0]
            allowed[own[own > 0] - 1] = False
        personal = user != UNKNOWN
        rows = best(scores if personal else catalogue.popularity, allowed, k)
        chosen = tuple(
            ScoredItem(catalogue.ids[row], catalogue.titles[row], round(float(scores[row]), 4)) for row in rows
        )
        return Recommendations(user_id, "personal" if personal else "popularity", chosen)


@dataclass(kw_only=True)
class LoadedTenant(Tenant):
    """A run that was read from its folder, so that it can be verified and its texts encoded.

    Attributes:
        manifest: Manifest of the run folder.
        adapter: Adapter for the base.
        base: The frozen base, shared with other runs.
    """

    manifest: Manifest
    adapter: TenantAdapter
    base: LanguageModel

    @property
    def tuned(self) -> TunedModel:
        """The run's language model."""
        return TunedModel(self.recipe, self.items, self.users, self.base, self.adapter)


def _latest(known: Histories, rows: int) -> NDArray[np.int64] | None:
    """Return the time of the request, if histories have times: that of the latest known interaction, int64 [rows]."""
    return None if known.time is None else np.full(rows, known.time.max(initial=0), np.int64)


def _split(count: int, step: int) -> list[slice]:
    """Return consecutive slices of at most `step`."""
    return [slice(at, min(count, at + step)) for at in range(0, count, step)]


OpenBase = Callable[[Manifest, Recipe], LanguageModel]
"""Returns the frozen base for a run: a new one, or one that is shared."""


def read_tenant(folder: Path, device: torch.device, base: OpenBase) -> LoadedTenant:
    """Read a run folder after verifying every file against its manifest.

    Args:
        folder: Run folder.
        device: Where to compute.
        base: Returns the frozen base, or refuses.

    Raises:
        InputError: If the folder is not a complete run of this version.
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
    return LoadedTenant(
        recipe=recipe,
        model=model.to(device).eval(),
        vocabulary=vocabulary,
        items=items,
        catalogue=catalogue_of(vocabulary, items, vectors),
        seen=_read_seen(folder / "seen.parquet", vocabulary),
        users=read_users(folder / "users.parquet", vocabulary.num_users),
        user_vectors=stored["user"].to(device) if "user" in stored else None,
        manifest=manifest,
        adapter=TenantAdapter(folder, manifest, recipe),
        base=base(manifest, recipe),
    )


def _read_seen(path: Path, vocabulary: Vocabulary) -> Histories:
    """Read each user's history; an item that the run does not have would hide one that was added since."""
    seen = read_seen(path, vocabulary.num_users)
    outside = (seen.item < UNKNOWN) | (seen.item >= vocabulary.num_items)  # an owner's history may name unknown items
    if outside.any():
        wrong = int(seen.item[outside][0])
        raise InputError(f"{path}: item {wrong} is none of the run's items 1 to {vocabulary.num_items - 1}")
    return seen


def catalogue_of(vocabulary: Vocabulary, items: ItemTable, vectors: torch.Tensor | None) -> Catalogue:
    """Make the catalogue of a run's own items.

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
    model = build_model(recipe, signals, heads, EncodedSource(plan))
    load_into(model.signal_parts, saved, folder / "signals.safetensors")
    load_into(model.head_parts, of_head, folder / "head.safetensors")
    load_into(model.fusion, fusion, folder / "head.safetensors")
    return model


def _signal_names(path: Path) -> dict[str, dict[str, list[str]]]:
    """Read the signals' names of their indices (`Signal.names`), by signal.

    Raises:
        InputError: If the header contains something else.
    """
    try:
        names = json.loads(read_texts(path).get(SIGNAL_NAMES, "{}"))
        return {
            str(signal): {str(kind): [str(name) for name in listed] for kind, listed in lists.items()}
            for signal, lists in names.items()
        }
    except (ValueError, AttributeError, TypeError):
        raise InputError(f"{path}: {SIGNAL_NAMES} in its header are no lists of names by signal") from None
