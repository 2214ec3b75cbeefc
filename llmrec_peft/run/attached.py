"""Attached runs: one or several runs in memory on one base, one of which is current and answers."""

from __future__ import annotations

from pathlib import Path

import torch

from llmrec_peft.artifact.manifest import Manifest
from llmrec_peft.artifact.tables import ItemTable
from llmrec_peft.data.vocabulary import Vocabulary
from llmrec_peft.errors import InputError, nearest
from llmrec_peft.model import RecModel
from llmrec_peft.recipe import Recipe
from llmrec_peft.run.catalogue import Catalogue
from llmrec_peft.run.language_model import LanguageModel
from llmrec_peft.run.tenant import LoadedTenant, Tenant, read_tenant


class AttachedRuns:
    """Runs by name: each has its own adapter, heads, signals, users and items, and all share one base.

    Its properties and methods are those of the current run, see `switch`.
    """

    _tenants: dict[str, Tenant]
    _current: str

    def _begin(self, tenant: Tenant, name: str) -> None:
        self._tenants = {name: tenant}
        self._current = name

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the runs in memory, in the order in which they were attached."""
        return tuple(self._tenants)

    @property
    def current(self) -> str:
        """Name of the current run."""
        return self._current

    def attach(self, folder: str | Path, name: str | None = None) -> str:
        """Load a further run on the same base; `switch` makes it the current one.

        Args:
            folder: Run folder.
            name: Name for it; by default the first 12 digits of its digest.

        Returns:
            Its name.

        Raises:
            InputError: If the folder is not a complete run, was trained on another base, its adapter does not fit
                (checked now if the base is loaded, else with the first text), or another run has the name. Nothing
                has changed then.
        """
        base = self.language_model

        def shared(manifest: Manifest, recipe: Recipe) -> LanguageModel:
            base.require(manifest, str(folder))
            base.require_code(recipe.backbone, str(folder))
            return base

        tenant = read_tenant(Path(folder), self.device, shared)
        name = tenant.manifest.digest[:12] if name is None else name
        if name in self._tenants:
            known = self._tenants[name]
            if not isinstance(known, LoadedTenant) or known.manifest.digest != tenant.manifest.digest:
                raise InputError(f"the name {name!r} is taken by another run: detach that one, or give another name")
            return name
        if base.loaded and tenant.model.plan.any:
            try:
                with base.inside(tenant.adapter):
                    pass
            except BaseException:
                base.drop(tenant.adapter)
                raise
        self._tenants[name] = tenant
        return name

    def switch(self, name: str) -> None:
        """Make another attached run the current one; the base is not loaded again.

        Raises:
            InputError: For a name that is not attached.
        """
        self._require_attached(name)
        self._current = name

    def detach(self, name: str) -> None:
        """Remove an attached run and free its memory.

        Raises:
            InputError: For a name that is not attached, or the current run.
        """
        self._require_attached(name)
        if name == self._current:
            raise InputError(f"run {name!r} answers at the moment: switch to another one before it is detached")
        tenant = self._tenants.pop(name)
        if isinstance(tenant, LoadedTenant):
            tenant.base.drop(tenant.adapter)

    @property
    def recipe(self) -> Recipe:
        """Resolved recipe of the run."""
        return self.tenant.recipe

    @property
    def model(self) -> RecModel:
        """Trained and folded model."""
        return self.tenant.model

    @property
    def vocabulary(self) -> Vocabulary:
        """Known users and items."""
        return self.tenant.vocabulary

    @property
    def items(self) -> ItemTable:
        """Titles, texts and popularity in vocabulary order."""
        return self.tenant.items

    @property
    def manifest(self) -> Manifest | None:
        """Manifest of the run folder; None for a run that was just trained."""
        return self.tenant.manifest if isinstance(self.tenant, LoadedTenant) else None

    @property
    def catalogue(self) -> Catalogue:
        """Items that can be recommended."""
        return self.tenant.catalogue

    @property
    def tenant(self) -> Tenant:
        """The current run without the base model."""
        return self._tenants[self._current]

    @property
    def loaded(self) -> LoadedTenant:
        """The run that answers, as read from its folder.

        Raises:
            InputError: If this recommender was just trained, not loaded from a run folder.
        """
        tenant = self.tenant
        if not isinstance(tenant, LoadedTenant):
            raise InputError("this recommender was not loaded from a run folder")
        return tenant

    @property
    def language_model(self) -> LanguageModel:
        """The base, shared by all attached runs.

        Raises:
            InputError: If this recommender was not loaded from a run folder.
        """
        return self.loaded.base

    @property
    def device(self) -> torch.device:
        """Device of the scores' computation."""
        return self.model.device

    def _require_attached(self, name: str) -> None:
        if name not in self._tenants:
            raise InputError(f"no run {name!r} is attached: {nearest(name, list(self._tenants))}")
