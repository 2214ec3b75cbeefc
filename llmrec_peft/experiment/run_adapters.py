"""Adapters of finished runs: read, held against the base and recipe that they are to be used with, and copied."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft import registry
from llmrec_peft.artifact.manifest import Manifest
from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.backbone.adapter import SavedAdapter
from llmrec_peft.backbone.base import base_differences
from llmrec_peft.errors import InputError
from llmrec_peft.recipe import Recipe
from llmrec_peft.recipe.variants import served
from llmrec_peft.run.language_model import FILES, adapter_files

if TYPE_CHECKING:
    from llmrec_peft.backbone.adapter import AdapterMethod
    from llmrec_peft.backbone.load import Backbone


@dataclass(frozen=True)
class AdapterOfRun:
    """A run as far as its adapter is concerned.

    Attributes:
        sealed: Its folder.
        recipe: The recipe of what answers.
    """

    sealed: SealedFolder
    recipe: Recipe

    @classmethod
    def read(cls, folder: Path) -> AdapterOfRun:
        """Read a run's manifest and recipe.

        Raises:
            InputError: If it is no run, holds a writer, or answers without an adapter.
        """
        sealed = SealedFolder.open(folder)
        recipe = Recipe.from_plain(sealed.recipe(), where=str(folder / "recipe.yaml"))
        if registry.get("heads", recipe.head.name).task == "writing":
            raise InputError(f"{folder} holds a writer, not a recommender")
        recipe = served(recipe)
        if any(name not in sealed.manifest.files for name in FILES):
            raise InputError(f"{folder} has no adapter: what answers there reads no text")
        if not recipe.adapter.config.model_fields:
            raise InputError(f"{folder} answers without an adapter (adapter.method: {recipe.adapter.method})")
        return cls(sealed, recipe)

    @property
    def folder(self) -> Path:
        """Its folder."""
        return self.sealed.folder

    @property
    def manifest(self) -> Manifest:
        """Its manifest."""
        return self.sealed.manifest

    @property
    def method(self) -> AdapterMethod[Any]:
        """Its adapter's method, with the options."""
        adapter = self.recipe.adapter
        method: AdapterMethod[Any] = registry.get("adapters", adapter.method)(adapter.config)
        return method


def read_adapters(folders: Sequence[Path]) -> tuple[AdapterOfRun, ...]:
    """Read several runs.

    Raises:
        InputError: If one is given twice, or as `AdapterOfRun.read`.
    """
    runs, known = [AdapterOfRun.read(folder) for folder in folders], dict[str, Path]()
    for run in runs:
        if run.manifest.digest in known:
            raise InputError(f"{known[run.manifest.digest]} and {run.folder} are the same run")
        known[run.manifest.digest] = run.folder
    return tuple(runs)


def require_like(run: AdapterOfRun, base: dict[str, str | None], recipe: Recipe, name: str) -> None:
    """Refuse a run whose adapter was trained on another base, by another method, or on texts that are read otherwise.

    Args:
        run: The run.
        base: Identity of the base that it has to have.
        recipe: Recipe whose method and reading it has to share.
        name: What that base and recipe belong to.

    Raises:
        InputError: Naming what differs.
    """
    differ = base_differences(run.manifest.base, base)
    if differ:
        raise InputError(f"{run.folder} was trained on another base than {name}: {'; '.join(differ)}")
    if run.recipe.adapter.method != recipe.adapter.method:
        raise InputError(
            f"{run.folder} has a {run.recipe.adapter.method} adapter and {name} a {recipe.adapter.method} adapter:"
            " adapters of one method are combined"
        )
    for field in ("pooling", "normalize"):
        own, other = (getattr(one.backbone, field) for one in (run.recipe, recipe))
        if own != other:
            raise InputError(f"{run.folder} reads texts otherwise than {name}: backbone.{field} is {own}, not {other}")


@contextlib.contextmanager
def saved_adapters(runs: Sequence[AdapterOfRun], backbone: Backbone) -> Iterator[list[SavedAdapter]]:
    """Copy the adapters of runs, verified, into folders of this process that are there inside the block.

    Raises:
        InputError: If a file is not what its run wrote.
    """
    with contextlib.ExitStack() as stack:
        yield [
            SavedAdapter(run.method, stack.enter_context(adapter_files(run.folder, run.manifest, backbone)))
            for run in runs
        ]
