"""Attached runs: one or several runs in memory on one base, one of which is current and answers."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from llmrec_peft.artifact.fetched import run_folder
from llmrec_peft.artifact.manifest import Manifest
from llmrec_peft.artifact.tables import ItemTable
from llmrec_peft.data.vocabulary import Vocabulary
from llmrec_peft.errors import InputError, nearest
from llmrec_peft.model import RecModel
from llmrec_peft.progress import warn
from llmrec_peft.recipe import Recipe
from llmrec_peft.run.catalogue import Catalogue
from llmrec_peft.run.language_model import LanguageModel
from llmrec_peft.run.read_tenant import read_tenant
from llmrec_peft.run.tenant import LoadedTenant, Tenant


@dataclass(frozen=True)
class Attached:
    """Runs in memory at one moment; a change makes another one.

    Attributes:
        tenants: Runs by name, in the order in which they were attached.
        current: Name of the run that answers.
    """

    tenants: Mapping[str, Tenant]
    current: str

    @property
    def tenant(self) -> Tenant:
        """The run that answers."""
        return self.tenants[self.current]

    def named(self, name: str) -> Tenant:
        """Return an attached run.

        Raises:
            InputError: For a name that is not attached.
        """
        if name not in self.tenants:
            raise InputError(f"no run {name!r} is attached: {nearest(name, list(self.tenants))}")
        return self.tenants[name]

    def name_of(self, tenant: Tenant) -> str | None:
        """Return the name of a run whose catalogue may have grown since; None if it is not attached any more."""
        same = (name for name, known in self.tenants.items() if known.vocabulary is tenant.vocabulary)
        return next(same, None)

    def with_tenant(self, name: str, tenant: Tenant) -> Attached:
        """Return these runs with another one, or with a run replaced."""
        return replace(self, tenants={**self.tenants, name: tenant})

    def without(self, name: str) -> Attached:
        """Return these runs without one that does not answer."""
        return replace(self, tenants={other: tenant for other, tenant in self.tenants.items() if other != name})


class AttachedRuns:
    """Runs by name: each has its own adapter, heads, signals, users and items, and all share one base.

    Its properties and methods are those of the current run, see `switch`. They may be used by several threads: what is
    in memory at one moment is one object, which is never changed, only replaced under a lock.
    """

    _attached: Attached
    _changing: threading.Lock

    def _begin(self, tenant: Tenant, name: str) -> None:
        self._attached = Attached({name: tenant}, name)
        self._changing = threading.Lock()
        for line in tenant.notes:
            warn(line)

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the runs in memory, in the order in which they were attached."""
        return tuple(self._attached.tenants)

    @property
    def current(self) -> str:
        """Name of the current run."""
        return self._attached.current

    @property
    def notes(self) -> tuple[str, ...]:
        """What whoever reads the current run's answers should know, a line each, such as that histories are missing."""
        return self.tenant.notes

    def attach(self, folder: str | Path, name: str | None = None) -> str:
        """Load a further run on the same base; `switch` makes it the current one.

        Args:
            folder: Run folder, or ``OWNER/NAME`` of the Hub, see `from_pretrained`.
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

        tenant = read_tenant(run_folder(folder), self.device, shared)
        name = tenant.manifest.digest[:12] if name is None else name
        if self._is_attached(name, tenant):
            return name
        try:
            if base.loaded and tenant.model.plan.any:
                with base.inside(tenant.adapter):
                    pass
            with self._changing:
                known = self._is_attached(name, tenant)  # by another thread meanwhile
                if not known:
                    self._attached = self._attached.with_tenant(name, tenant)
        except BaseException:
            base.drop(tenant.adapter)
            raise
        if known:
            base.drop(tenant.adapter)
        for line in tenant.notes:
            warn(line)
        return name

    def _is_attached(self, name: str, tenant: LoadedTenant) -> bool:
        """Return whether the same run has this name.

        Raises:
            InputError: If another one has it.
        """
        known = self._attached.tenants.get(name)
        if known is None:
            return False
        if not isinstance(known, LoadedTenant) or known.manifest.digest != tenant.manifest.digest:
            raise InputError(f"the name {name!r} is taken by another run: detach that one, or give another name")
        return True

    def switch(self, name: str) -> None:
        """Make another attached run the current one; the base is not loaded again.

        A call that another thread has begun is answered by the run that was the current one then.

        Raises:
            InputError: For a name that is not attached.
        """
        with self._changing:
            self._attached.named(name)
            self._attached = replace(self._attached, current=name)

    def detach(self, name: str) -> None:
        """Remove an attached run and free its memory, once the calls that it answers at the moment are done.

        Raises:
            InputError: For a name that is not attached, or the current run.
        """
        with self._changing:
            tenant = self._attached.named(name)
            if name == self._attached.current:
                raise InputError(f"run {name!r} answers at the moment: switch to another one before it is detached")
            self._attached = self._attached.without(name)
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
        tenant = self.tenant
        return tenant.manifest if isinstance(tenant, LoadedTenant) else None

    @property
    def catalogue(self) -> Catalogue:
        """Items that can be recommended."""
        return self.tenant.catalogue

    @property
    def tenant(self) -> Tenant:
        """The current run without the base model, as it is at this moment."""
        return self._attached.tenant

    def latest(self, tenant: Tenant) -> Tenant:
        """Return a run with the items that were added to it since, whichever run answers now.

        What takes several calls for one result goes through it, since another thread may switch between them. A run
        that was detached is returned as it was.
        """
        attached = self._attached
        name = attached.name_of(tenant)
        return tenant if name is None else attached.tenants[name]

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
