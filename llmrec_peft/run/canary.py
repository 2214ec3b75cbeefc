"""Canary: scores that a run gave when it was written, by which whoever loads it sees that it still gives them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from llmrec_peft.artifact.manifest import is_there
from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.backbone.tensor_bytes import tensors_in
from llmrec_peft.backbone.tensor_files import write_tensors
from llmrec_peft.data.vocabulary import UNKNOWN
from llmrec_peft.errors import InputError
from llmrec_peft.run.item_matrix import FILE as MATRIX
from llmrec_peft.run.item_matrix import write_item_matrix

if TYPE_CHECKING:
    from llmrec_peft.run.tenant import LoadedTenant, Tenant

FILE = "canary.safetensors"
COUNT = 16
"""Users, the unknown one among them, and items whose scores are recorded."""
WITHIN = 1e-4
"""How far a score may be from the recorded one, relative to 1 plus its size: other processors round otherwise."""
CANARY_BYTES = 1 << 20


@dataclass(frozen=True)
class Canary:
    """Scores of some users for some items.

    Attributes:
        users: User indices, int64 [u]; 0 is the unknown user.
        rows: Rows of the catalogue, int64 [c].
        scores: Scores of the primary head, float32 [u, c].
    """

    users: NDArray[np.int64]
    rows: NDArray[np.int64]
    scores: NDArray[np.float32]

    @classmethod
    def of(cls, tenant: Tenant) -> Canary | None:
        """Score the unknown user and known ones for items, evenly chosen.

        None for a run that encodes to score, and for a head that scores pairs alone.
        """
        if tenant.encodes_to_score:
            return None
        users = _spread(0, tenant.vocabulary.num_users)
        rows = _spread(0, len(tenant.catalogue.ids))
        scores = tenant.candidate_scores(users, rows)
        return cls(users, rows, scores) if scores.shape == (len(users), len(rows)) else None

    def write(self, path: Path) -> None:
        """Write it as safetensors."""
        parts = {"users": self.users, "rows": self.rows, "scores": self.scores}
        write_tensors(path, {name: torch.from_numpy(values) for name, values in parts.items()})

    def require(self, tenant: LoadedTenant) -> None:
        """Refuse a run that gives other scores than when it was written.

        Users whose histories did not come with the run are left out where it reads histories.

        Raises:
            InputError: Naming the pair that is farthest off.
        """
        there = np.full(len(self.users), True)
        if tenant.model.plan.history_length is not None and tenant.sealed.withheld():
            there = self.users == UNKNOWN
        users, scores = self.users[there], self.scores[there]
        if not len(users):
            return
        found = tenant.candidate_scores(users, self.rows)
        self._compare(tenant, users, scores, found)
        count = min(len(users), len(self.rows))
        place = np.arange(count)
        pairs = scores.copy()  # pairs are scored another way, which has to give the same
        pairs[place, place] = tenant.score(users[:count], self.rows[:count])
        self._compare(tenant, users, scores, pairs)

    def _compare(
        self, tenant: LoadedTenant, users: NDArray[np.int64], scores: NDArray[np.float32], found: NDArray[np.float32]
    ) -> None:
        off = np.abs(found.astype(np.float64) - scores) / (1.0 + np.abs(scores.astype(np.float64)))
        if bool((off <= WITHIN).all()):
            return
        at, column = np.unravel_index(int(off.argmax()), off.shape)
        user = "unknown" if users[at] == UNKNOWN else f"{tenant.vocabulary.users[users[at] - 1]!r:.60}"
        raise InputError(
            f"its score of user {user} and item {tenant.catalogue.ids[self.rows[column]]!r:.60} is"
            f" {found[at, column]:.6f}, and was {scores[at, column]:.6f} when the run was written ({FILE})"
        )


def write_scores(folder: Path, tenant: Tenant) -> None:
    """Write the items' side of a run's scores and the scores by which it is known, where they are."""
    with evaluating(tenant.model):
        write_item_matrix(folder / MATRIX, tenant)
        canary = Canary.of(tenant)
    if canary is not None:
        canary.write(folder / FILE)


@contextlib.contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Leave dropout out inside the block; other models that share modules find them afterwards as they were."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def read_canary(sealed: SealedFolder, num_users: int, num_items: int) -> Canary | None:
    """Read the recorded scores of a run; None for one that has none.

    Args:
        sealed: Run folder.
        num_users: Rows of a user table, the unknown one included.
        num_items: Items of the catalogue.

    Raises:
        InputError: If the file is missing, changed, or no such table.
    """
    path = sealed.folder / FILE
    if FILE not in sealed.manifest.files and not is_there(path):
        return None
    tensors, _ = tensors_in(sealed.content(FILE, CANARY_BYTES), path)
    kinds = {"users": torch.int64, "rows": torch.int64, "scores": torch.float32}
    if {name: tensor.dtype for name, tensor in tensors.items()} != kinds:
        raise InputError(f"{path}: no scores of users and items")
    users, rows, scores = (tensors[name].numpy() for name in kinds)
    shape: tuple[Any, ...] = (len(users), len(rows)) if users.ndim == rows.ndim == 1 else ()
    if not 0 < users.size <= COUNT or not 0 < rows.size <= COUNT or scores.shape != shape:
        raise InputError(f"{path}: scores of at most {COUNT} users and items are not {list(scores.shape)}")
    if not np.isfinite(scores).all():
        raise InputError(f"{path}: a score is not a finite number")
    for index, count in ((users, num_users), (rows, num_items)):
        if int(index.min()) < 0 or int(index.max()) >= count:
            raise InputError(f"{path}: an index is none of the run's")
    return Canary(users, rows, scores)


def _spread(first: int, count: int) -> NDArray[np.int64]:
    """Return at most `COUNT` numbers below `count` from the first one on, evenly spread."""
    return np.unique(np.linspace(first, count - 1, COUNT).astype(np.int64))
