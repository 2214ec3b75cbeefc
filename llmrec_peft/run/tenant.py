"""Tenant: everything of one run but the base model: adapter, heads, signals, users and items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from llmrec_peft.artifact.manifest import Manifest
from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.artifact.seen import read_learned
from llmrec_peft.artifact.tables import ItemTable
from llmrec_peft.data.batches import Batch
from llmrec_peft.data.histories import Histories, given
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.vocabulary import UNKNOWN, Vocabulary
from llmrec_peft.errors import InputError
from llmrec_peft.heads.contract import Joined
from llmrec_peft.model import RecModel
from llmrec_peft.model.catalogue_scores import CatalogueScores
from llmrec_peft.recipe import Recipe
from llmrec_peft.run.best_items import BestItems, Ranked, best
from llmrec_peft.run.canary import Canary
from llmrec_peft.run.candidates import CELLS, Candidates, finite
from llmrec_peft.run.catalogue import Catalogue, Recommendations, ScoredItem
from llmrec_peft.run.language_model import LanguageModel, TenantAdapter
from llmrec_peft.run.stored_texts import StoredTexts
from llmrec_peft.run.tuned_model import TunedModel

PAIRS = 1024
"""Pairs that a head which reads prompts scores per chunk."""
WHOLE = 8
"""Lists of more than an eighth of the catalogue are cut from the scores of all items."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Tenant:
    """A run in memory: a snapshot that never changes, so that threads can score with it.

    Attributes:
        recipe: Resolved recipe of the run.
        model: Trained and folded model.
        vocabulary: Known users and items.
        items: Titles, texts and popularity in vocabulary order.
        catalogue: Items that can be recommended; `with_catalogue` returns the run with another one.
        seen: History of each user index, oldest first.
        users: The owner's columns of each user index, if prompts name them.
        user_vectors: Vectors of users' texts, float32 [num_users, width]; None if none are read.
        notes: What whoever reads the answers should know, a line each, such as that histories are missing.
    """

    recipe: Recipe
    model: RecModel
    vocabulary: Vocabulary
    items: ItemTable
    catalogue: Catalogue
    seen: Histories
    users: Sequence[Mapping[str, Any]] = field(default_factory=list)
    user_vectors: torch.Tensor | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        texts = StoredTexts(self.model.plan, self.catalogue, self.user_vectors, self.tuned)
        object.__setattr__(self, "model", self.model.sharing(texts=texts))  # other catalogues' models stay as they are

    @property
    def tuned(self) -> TunedModel | None:
        """The run's language model; None for a run that was not loaded from a folder."""
        return None

    @cached_property
    def _candidates(self) -> Candidates:
        return Candidates(self.model, self.catalogue)

    @property
    def encodes_to_score(self) -> bool:
        """Whether the language model reads a text for each score, so that nothing is scored without it."""
        plan = self.model.plan
        return plan.prompt is not None or (plan.user is not None and self.user_vectors is None)

    def item_side(self) -> Joined:
        """Return the items' side of all scores, computed once; not for runs that encode to score."""
        return self._candidates.side

    def with_catalogue(self, catalogue: Catalogue) -> Self:
        """Return the same run with another catalogue; its model and tables are shared."""
        return replace(self, catalogue=catalogue)

    def with_vectors(self, vectors: torch.Tensor) -> Self:
        """Return the same run with other vectors of its items' texts, [items of the catalogue, width]."""
        return self.with_catalogue(replace(self.catalogue, vectors=vectors.to(self.model.device), side=None))

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

    def pairs(
        self,
        users: Sequence[str],
        items: Sequence[str],
        histories: Sequence[Sequence[tuple[str, float]]] | None,
        chunk: int,
    ) -> NDArray[np.float32]:
        """Predict labels of pairs of ids, see `Recommender.score`."""
        if histories is not None and self.model.plan.history_length is None:
            raise InputError(
                "this run reads no histories: other ones would change none of its scores, so leave them out"
            )
        rows = self.catalogue.rows_of(items)
        if len(rows) and int(rows.min()) < 0:
            unknown = items[int(rows.argmin())]
            raise InputError(f"unknown item {unknown!r:.60}: add its text first (Recommender.add_items)")
        user = self.vocabulary.user_indices(users)
        told = None if histories is None else self._numbered(histories, len(users))
        if self.model.plan.history_length is not None:
            chunk = max(1, chunk // self.model.plan.history_length)
        parts = []
        for at in range(0, len(rows), chunk):
            some = slice(at, at + chunk)
            own = None if told is None else told.take(np.arange(len(users))[some])
            parts.append(self.score(user[some], rows[some], own))
        return np.concatenate(parts) if parts else np.empty(0, np.float32)

    def _numbered(self, histories: Sequence[Sequence[tuple[str, float]]], count: int) -> Histories:
        """Return a caller's histories, numbered; items that the run does not know are left out."""
        if len(histories) != count:
            raise InputError(f"score: {len(histories)} histories for {count} users")
        known = [
            [(item, label) for item, label in history if self.vocabulary.item_indices([item])[0] != UNKNOWN]
            for history in histories
        ]
        items = [[item for item, _ in history] for history in known]
        return given(items, [[label for _, label in history] for history in known], self.vocabulary.item_indices)

    def score(
        self, user: NDArray[np.int64], rows: NDArray[np.int64], histories: Histories | None = None
    ) -> NDArray[np.float32]:
        """Predict labels, probabilities or scores of user indices and rows of the catalogue, float32 [n]."""
        with torch.no_grad():
            scores: NDArray[np.float32] = self.model(self.batch(user, rows, histories)).scores.float().cpu().numpy()
        return finite(scores)

    def catalogue_scores(self, user: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score user indices for every row of the catalogue, float32 [users, items].

        Users and items are computed separately, once each, and combined in the head. A head that reads prompts has to
        read each pair, some at a time.
        """
        count = len(self.catalogue.ids)
        scores = np.empty((len(user), count), np.float32)
        if self.model.head.reads_prompt():
            for row, index in enumerate(user):
                for some in _split(count, PAIRS):
                    rows = np.arange(some.start, some.stop, dtype=np.int64)
                    scores[row, some] = self.score(np.full(len(rows), index, np.int64), rows)
            return scores
        for some in _split(len(user), self._candidates.users_at_once(self.model.plan.history_length)):
            scores[some] = self._candidates.scores(self._users(user[some]))
        return scores

    def best_rows(self, users: NDArray[np.int64], k: int) -> list[NDArray[np.int64]]:
        """Return the rows of the best items of known users, by index, without those of their histories."""
        k = min(k, len(self.catalogue.ids))
        some = _split(len(users), self._users_at_once(k))
        return [ranked.rows for each in some for ranked in self._best(users[each], k, False)]

    @torch.no_grad()
    def candidate_scores(self, user: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score user indices for some rows of the catalogue, as `catalogue_scores` does, float32 [users, rows].

        Not for runs that encode to score.
        """
        catalogue, device = self.catalogue, self.model.device
        index = torch.from_numpy(catalogue.table_index[rows]).to(device)
        keys = torch.from_numpy(rows + 1).to(device)
        texts = self.model.texts.items(keys) if self.model.plan.item else None
        at, side = torch.from_numpy(rows), catalogue.side
        if side is not None:
            side = Joined(None if side.vector is None else side.vector[at], side.offset[at])
        found = CatalogueScores(self.model, index, texts, keys, side).scores(self._users(user))
        return finite(found.float().cpu().numpy())

    @torch.no_grad()
    def _users(self, user: NDArray[np.int64]) -> Batch:
        """Return users with their histories and the vectors of their texts."""
        return self.model.texts.filled(self.batch(user, np.zeros(len(user), np.int64)), own_items=False)

    def recommend(self, user_ids: Sequence[str], k: int, seen: bool) -> list[Recommendations]:
        """Return the best `k` items of each user, without those of the user's history unless `seen`."""
        users, ids = self.vocabulary.user_indices(user_ids), list(user_ids)
        k = min(k, len(self.catalogue.ids))
        found = dict[int, Ranked]()
        personal = np.unique(users[users != UNKNOWN])
        for some in _split(len(personal), self._users_at_once(k)):
            found.update(zip(personal[some].tolist(), self._best(personal[some], k, seen), strict=True))
        if len(personal) < len(np.unique(users)):
            found[UNKNOWN] = self._popular(k, seen)
        return [self._named(user_id, int(user), found[int(user)]) for user_id, user in zip(ids, users, strict=True)]

    def _users_at_once(self, k: int) -> int:
        """Return for how many users the best items are sought together."""
        if self._whole(k):
            return max(1, CELLS // max(1, len(self.catalogue.ids)))
        return self._candidates.users_at_once(self.model.plan.history_length)

    def _whole(self, k: int) -> bool:
        """Return whether the scores of all items are kept for a user: for heads that read pairs, and long lists."""
        return self.model.head.reads_prompt() or WHOLE * k > len(self.catalogue.ids)

    def _best(self, users: NDArray[np.int64], k: int, seen: bool) -> list[Ranked]:
        """Return the best items of known users."""
        left_out = [self._left_out(int(user), seen) for user in users]
        if not self._whole(k):
            return self._candidates.best(self._users(users), k, left_out)
        found = BestItems(len(users), k)
        found.add(0, self.catalogue_scores(users), left_out)
        return found.ranked()

    def _popular(self, k: int, seen: bool) -> Ranked:
        """Return the items with most interactions, each with its score for the average user."""
        allowed = np.ones(len(self.catalogue.ids), bool)
        allowed[self._left_out(UNKNOWN, seen)] = False
        rows = best(self.catalogue.popularity, allowed, k)
        return Ranked(rows, self.catalogue_scores(np.array([UNKNOWN]))[0, rows])

    def _left_out(self, user: int, seen: bool) -> NDArray[np.int64]:
        """Return the rows of the catalogue that a user is not to be recommended: what he met, and himself."""
        own = np.empty(0, np.int64) if seen else self.seen.of(user)[0]
        rows = own[own > 0] - 1
        if user == UNKNOWN or not self.recipe.data.items_are_users:
            return rows
        himself = self.catalogue.row_of.get(self.vocabulary.users[user - 1])
        return rows if himself is None else np.append(rows, himself)

    def _named(self, user_id: str, user: int, ranked: Ranked) -> Recommendations:
        ids, titles = self.catalogue.ids, self.catalogue.titles
        scored = zip(ranked.rows.tolist(), ranked.scores.tolist(), strict=True)
        chosen = tuple(ScoredItem(ids[row], titles[row], round(score, 4)) for row, score in scored)
        return Recommendations(user_id, "popularity" if user == UNKNOWN else "personal", chosen)


@dataclass(frozen=True, eq=False, kw_only=True)
class LoadedTenant(Tenant):
    """A run that was read from its folder, so that it can be verified and its texts encoded.

    Attributes:
        folder: The run folder.
        manifest: Manifest of the run folder.
        adapter: Adapter for the base.
        base: The frozen base, shared with other runs.
        canary: Scores that the run gave when it was written; None for a run that encodes to score.
    """

    folder: Path
    manifest: Manifest
    adapter: TenantAdapter
    base: LanguageModel
    canary: Canary | None = None

    @property
    def sealed(self) -> SealedFolder:
        """The run folder, each of whose files is held against the manifest when it is read."""
        return SealedFolder(self.folder, self.manifest)

    def learned(self) -> Interactions | None:
        """Read the known interactions that were trained on; None if ``seen.safetensors`` was not passed on.

        Raises:
            InputError: If the file is not what the run wrote.
        """
        seen = self.sealed.private("seen.safetensors")
        return None if seen is None else read_learned(self.folder / "seen.safetensors", seen)

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


def catalogue_of(
    vocabulary: Vocabulary, items: ItemTable, vectors: torch.Tensor | None, side: Joined | None = None
) -> Catalogue:
    """Make the catalogue of a run's own items.

    Args:
        vocabulary: Known users and items.
        items: Titles, texts and popularity in vocabulary order.
        vectors: Text vectors of all item indices, [num_items, width], index 0 first.
        side: The items' side of all scores, if it is stored.
    """
    return Catalogue(
        ids=vocabulary.items,
        titles=items.titles,
        table_index=np.arange(1, vocabulary.num_items, dtype=np.int64),
        popularity=items.popularity,
        vectors=None if vectors is None else vectors[1:],
        side=side,
    )
