"""Loading: a sealed run becomes a version, on the base that all versions share, after it has been checked."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from llmrec_peft.artifact.manifest import Manifest
from llmrec_peft.artifact.untouched import Untouched
from llmrec_peft.errors import InputError
from llmrec_peft.recipe import Recipe
from llmrec_peft.run.language_model import LanguageModel
from llmrec_peft.run.read_tenant import read_tenant
from llmrec_peft.run.tenant import LoadedTenant
from llmrec_peft.serving.sealed_store import SealedRun
from llmrec_peft.serving.skeletons import Skeletons
from llmrec_peft.serving.versions import Version

CHUNK = 65_536
"""Pairs that are scored at once."""


@dataclass(frozen=True)
class KnownScores:
    """Scores that a run is known to give, such as those noted down after its training.

    Attributes:
        users: User ids, [n].
        items: Item ids, [n].
        scores: What `Recommender.score` gave, [n].
        within: How far a score may be from it: other processors and other batches round otherwise.
    """

    users: Sequence[str]
    items: Sequence[str]
    scores: Sequence[float]
    within: float = 1e-4

    def require(self, tenant: LoadedTenant) -> None:
        """Refuse a run that gives other scores.

        Raises:
            InputError: Naming the pair that is farthest off.
        """
        if not len(self.users) == len(self.items) == len(self.scores):
            raise InputError("known scores need one user, one item and one score for each pair")
        found = tenant.pairs(list(self.users), list(self.items), None, CHUNK)
        off = np.abs(found.astype(np.float64) - np.asarray(self.scores, np.float64))
        if not len(off) or bool((off <= self.within).all()):  # NaN is not within anything
            return
        at = int(np.argmax(np.where(np.isnan(off), np.inf, off)))
        raise InputError(
            f"its score of user {self.users[at]!r:.60} and item {self.items[at]!r:.60} is {found[at]:.6f}, and not"
            f" {self.scores[at]:.6f} as it is known to be"
        )


class Loading:
    """Loads sealed runs on one base; the first one says which base it is.

    Attributes:
        device: Where to compute.
    """

    def __init__(
        self,
        device: torch.device,
        base: LanguageModel | None = None,
        try_adapters: bool = True,
        skeletons: Skeletons | None = None,
    ) -> None:
        """Begin, with a base that others share already or with none.

        Args:
            device: Where to compute.
            base: The base; by default that of the first run.
            try_adapters: Whether an adapter is put into the base once before its version answers, so that one that does
                not fit is refused then and not with the first new text. It loads the base.
            skeletons: Where runs are remembered that may be loaded again; on the CPU alone. None remembers nothing.
        """
        self.device = device
        self.base = base
        self._try_adapters = try_adapters
        self._skeletons = skeletons if device.type == "cpu" else None
        self._lock = threading.Lock()

    def load(self, sealed: SealedRun, answers: bool = True) -> Version:
        """Read a sealed run, verifying every byte, and check it.

        Args:
            sealed: The run in the store.
            answers: Whether it is to answer, so that its adapter is tried.

        Raises:
            InputError: If a file was changed or does not fit the others, a number is not finite, the base is another
                one, the adapter does not fit it, or scores are not those that the run gave when it was written.
                Nothing of it stays in memory then.
        """
        before = None if self._skeletons is None else Untouched.now(sealed.folder)
        tenant = read_tenant(sealed.folder, self.device, self._shared, mapped=True)
        try:
            if tenant.manifest.digest != sealed.digest:
                raise InputError(f"{sealed.folder} holds run {tenant.manifest.digest[:12]}")
            if answers and tenant.canary is not None:
                tenant.canary.require(tenant)
            if self._skeletons is not None:
                self._skeletons.keep(sealed, tenant, before)
            if answers and self._try_adapters and tenant.model.plan.any:
                with tenant.base.inside(tenant.adapter):
                    pass
                if not tenant.model.plan.tells_items:  # items' texts are encoded by its slot
                    tenant.base.set_aside(tenant.adapter)
        except BaseException:
            tenant.base.retire(tenant.adapter)
            raise
        return Version(sealed, tenant)

    def again(self, sealed: SealedRun) -> Version | None:
        """Make a version again that was loaded before, without reading a byte; None if that cannot be done.

        Its contents were verified then, and its canary compared; its files must be untouched since.
        """
        tenant = None if self._skeletons is None else self._skeletons.tenant(sealed)
        return None if tenant is None else Version(sealed, tenant)

    def _shared(self, manifest: Manifest, recipe: Recipe) -> LanguageModel:
        """Return the base for a run, or refuse the run."""
        run = f"run {manifest.digest[:12]}"
        with self._lock:
            if self.base is None:
                self.base = LanguageModel(recipe.backbone, manifest.base, self.device)
            base = self.base
        base.require(manifest, run)
        base.require_code(recipe.backbone, run)
        return base
