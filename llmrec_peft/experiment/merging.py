"""Merging: runs whose adapters become one inside the first of them, and that run's files with the new adapter."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from llmrec_peft import registry
from llmrec_peft.artifact.manifest import HISTORIES, Manifest, is_there, limit_of, make_manifest
from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.artifact.seen import read_learned
from llmrec_peft.artifact.tables import read_vocabulary
from llmrec_peft.backbone.adapter import SavedAdapter
from llmrec_peft.backbone.base import base_differences
from llmrec_peft.backbone.tensor_files import write_tensors
from llmrec_peft.backbone.tensor_stream import write_matrices
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.parent import SEEN, lineage_of
from llmrec_peft.identity import __version__
from llmrec_peft.model.warm_start import FILE as TRAINED
from llmrec_peft.recipe import Recipe
from llmrec_peft.recipe.variants import served
from llmrec_peft.run.language_model import FILES, TenantAdapter, adapter_files
from llmrec_peft.run.other_adapter import with_adapter
from llmrec_peft.run.read_tenant import SIGNAL_NAMES, VECTORS
from llmrec_peft.run.trained_file import read_trained

if TYPE_CHECKING:
    from llmrec_peft.artifact.lineage import Lineage
    from llmrec_peft.backbone.adapter import AdapterMethod
    from llmrec_peft.backbone.load import Backbone
    from llmrec_peft.run.tenant import LoadedTenant

_INSIDE = "encoder."
"""Before the names of an adapter's parameters among a model's trained parts."""


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


def require_mergeable(runs: Sequence[AdapterOfRun]) -> None:
    """Refuse runs whose adapters do not belong together.

    Raises:
        InputError: If a run is there twice, or has another base, method or way of reading texts than the first.
    """
    first = runs[0]
    known: dict[str, Path] = {}
    for run in runs:
        if run.manifest.digest in known:
            raise InputError(f"{known[run.manifest.digest]} and {run.folder} are the same run")
        known[run.manifest.digest] = run.folder
        require_like(run, first.manifest.base, first.recipe, str(first.folder))


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


def lineage_of_run(run: AdapterOfRun) -> Lineage:
    """Return where a run comes from; its own step is the last one."""
    vocabulary = read_vocabulary(run.folder / "vocabulary.parquet", run.sealed.content("vocabulary.parquet"))
    learned = read_learned(run.folder / SEEN, run.sealed.private(SEEN))
    return lineage_of(run.sealed, run.recipe.name, vocabulary, 0 if learned is None else len(learned))


def write_with_adapter(folder: Path, first: AdapterOfRun, tenant: LoadedTenant, recipe: Recipe) -> LoadedTenant:
    """Write the first run's files around another adapter, which lies in the folder already.

    Args:
        folder: Folder with the adapter's two files.
        first: The first run.
        tenant: The same run in memory.
        recipe: Its whole recipe with the new adapter's options.

    Returns:
        The new run in memory; its vectors of texts are those that were written.

    Raises:
        InputError: If a file is not what the run wrote, or the adapter's vectors are not finite or do not fit the head.
    """
    sealed, manifest = first.sealed, first.manifest
    made = {*FILES, "recipe.yaml", VECTORS}
    kept = [name for name in manifest.files if name not in made]
    kept += [name for name in HISTORIES if name in manifest.private and is_there(sealed.folder / name)]
    for name in kept:
        sealed.copy(name, folder / name, limit_of(name))
    (folder / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    sealed_now = make_manifest(folder, manifest.base, __version__)
    merged = replace(with_adapter(tenant, TenantAdapter(folder, sealed_now, served(recipe))), recipe=recipe)
    vectors = merged.catalogue.vectors
    write_matrices(folder / VECTORS, {} if vectors is None else {"text": [torch.zeros_like(vectors[:1]), vectors]})
    _write_trained(folder / TRAINED, first, merged)
    return merged


def _write_trained(path: Path, first: AdapterOfRun, merged: LoadedTenant) -> None:
    """Write what a later training begins with: the first run's, with the new adapter; nothing if that was not there."""
    if not is_there(first.folder / TRAINED) or TRAINED not in first.manifest.private:
        return
    tensors, names = read_trained(first.folder / TRAINED, first.sealed.content(TRAINED))
    with merged.base.inside(merged.adapter) as (_, encoder):
        own = {f"{_INSIDE}{name}": tensor.detach().cpu() for name, tensor in encoder.named_parameters()}
        for name in tensors:
            if name.startswith(_INSIDE):
                if name not in own:
                    raise InputError(f"{first.folder / TRAINED}: {name} is no tensor of the run's adapter")
                tensors[name] = own[name].to(tensors[name].dtype).clone()
    write_tensors(path, tensors, {SIGNAL_NAMES: json.dumps(names, ensure_ascii=False)})
