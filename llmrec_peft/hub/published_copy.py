"""Published copy: a run as others may have it, a run folder of its own that answers as a cold-start profile."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft import registry
from llmrec_peft.artifact.catalogue_file import FILE as CATALOGUE
from llmrec_peft.artifact.catalogue_file import write_catalogue
from llmrec_peft.artifact.lineage import FILE as LINEAGE
from llmrec_peft.artifact.lineage import Published, Step, write_lineage
from llmrec_peft.artifact.manifest import HISTORIES, MERGED_BASE, NAME, Manifest, limit_of, make_manifest, write_json
from llmrec_peft.artifact.tables import ItemTable, write_items
from llmrec_peft.backbone.tensor_bytes import tensors_in
from llmrec_peft.backbone.tensor_files import write_tensors
from llmrec_peft.backbone.through_peft.files import BASE, CONFIG, WEIGHTS
from llmrec_peft.data.vocabulary import UNKNOWN, Vocabulary
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.parent import lineage_of
from llmrec_peft.hub.cold_tables import user_tables, without_users
from llmrec_peft.hub.without_paths import DEMO, local_paths, plain, published_base, published_recipe
from llmrec_peft.identity import __version__
from llmrec_peft.recipe import Recipe
from llmrec_peft.regular_files import is_folder
from llmrec_peft.run.canary import FILE as CANARY
from llmrec_peft.run.read_tenant import VECTORS
from llmrec_peft.run.signal_files import LEARNING, SIGNALS
from llmrec_peft.run.stored_items import FILE as ITEMS

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.run.tenant import LoadedTenant

OWN = "llmrec-peft"
"""Distribution whose plugins everybody has."""


@dataclass(frozen=True)
class Shared:
    """What of a run is shared with others.

    Attributes:
        users: Whether ids and tables of its users are; their interactions never are.
        items: Whether titles, texts and columns of its items are; their ids and vectors always are.
    """

    users: bool
    items: bool


def is_public(recipe: Recipe) -> bool:
    """Return whether everybody can have a recipe's data: it is made up, or its owner lets people fetch it."""
    reader = registry.get("readers", recipe.data.reader)
    return recipe.data.path == DEMO or getattr(reader, "download", None) is not None


def write_copy(tenant: LoadedTenant, folder: Path, shared: Shared) -> Manifest:
    """Write what is published of a run into an empty folder.

    Item vectors and the answers to new users are those of the run. Without users, every table has the row of the
    unknown user alone, and what only explanations of known users read is left out. Interactions and predictions are
    never written.

    Args:
        tenant: The run.
        folder: Folder to fill.
        shared: What is shared.

    Returns:
        The manifest of the copy, which has a digest of its own.

    Raises:
        InputError: If the run cannot answer without what is left out, or a file is not what the run wrote.
    """
    _require_answers(tenant, shared)
    copy = _Copy(tenant, folder, shared)
    for name in tenant.manifest.files:
        copy.write(name)
    copy.write_reports()
    history = {} if not shared.users else {n: d for n, d in tenant.manifest.private.items() if n in HISTORIES}
    manifest = make_manifest(folder, published_base(tenant.manifest), __version__, withheld=history)
    write_json(folder / NAME, manifest.model_dump(mode="json"))
    return manifest


def left_out(tenant: LoadedTenant, shared: Shared) -> list[str]:
    """Return what of a run is not published, a line each."""
    lines = ["interactions, predictions and what a later training begins with: never published"]
    if not shared.users:
        lines.append(f"ids and table rows of {len(tenant.vocabulary.users):,} users: --include-users publishes them")
    if not shared.items:
        count = f"{len(tenant.vocabulary.items):,}"
        lines.append(f"titles, texts and columns of {count} items, not their ids: --include-items publishes them")
    if local_paths(tenant.recipe, tenant.manifest):
        lines.append("paths of this machine in recipe.yaml, metrics.json and the adapter's files")
    return lines


def foreign_plugins(recipe: Recipe) -> dict[str, str]:
    """Return the packages, with versions, of the plugins that a recipe names and that this package does not bring."""
    named = [("adapters", recipe.adapter.method), ("readers", recipe.data.reader)]
    named += [("heads", choice.name) for choice in recipe.all_heads]
    named += [("signals", name) for name in recipe.signals.active]
    found = {}
    for kind, name in named:
        package = registry.plugins(kind)[name].package
        if package.split()[0] != OWN:
            found[f"{kind} {name}"] = package
    return found


def _require_answers(tenant: LoadedTenant, shared: Shared) -> None:
    """Refuse to leave out what every answer of the run reads."""
    if is_folder(tenant.folder / MERGED_BASE):
        raise InputError(
            f"{tenant.folder}: its language model is merged and lies in {MERGED_BASE}/, which is not published with it:"
            f" push the run that was merged, or publish {MERGED_BASE}/ as a model of its own"
        )
    plan = tenant.model.plan
    if not shared.items and (plan.tells_items or plan.prompt is not None):
        raise InputError(
            f"{tenant.folder}: its scores are read from texts about items, so it cannot answer without them:"
            " --include-items publishes them"
        )
    if not shared.users and tenant.recipe.data.items_are_users:
        raise InputError(
            f"{tenant.folder}: its items are people, so their ids are ids of users: --include-users publishes them"
        )


class _Copy:
    """Writes the files of a copy, each as it is or without what is left out."""

    def __init__(self, tenant: LoadedTenant, folder: Path, shared: Shared) -> None:
        self._tenant, self._sealed = tenant, tenant.sealed
        self._folder, self._shared = folder, shared
        self._paths = local_paths(tenant.recipe, tenant.manifest)
        self._changed: dict[str, Callable[[Path], None]] = {"recipe.yaml": self._recipe}
        if not (shared.users and shared.items):
            self._changed |= {CATALOGUE: self._catalogue, ITEMS: self._items, SIGNALS: self._signals}
        if not shared.users:
            self._changed |= {LEARNING: _nothing, VECTORS: self._vectors, CANARY: self._canary}
        if tenant.manifest.base.get("revision") is None:
            self._changed |= {CONFIG: self._config, WEIGHTS: self._weights}

    def write(self, name: str) -> None:
        """Write one of the run's files."""
        if name in self._changed:
            self._changed[name](self._folder / name)
        else:
            self._sealed.copy(name, self._folder / name, limit_of(name))

    def write_reports(self) -> None:
        """Write figures and lineage."""
        tenant, figures = self._tenant, self._sealed.report()
        if isinstance(figures.get("data"), dict):
            figures = {**figures, "data": {**figures["data"], "notes": []}}  # they name rows of the data
        if not self._shared.items:
            figures = {**figures, "weights": {}}  # of categories and relations by their names
        write_json(self._folder / "metrics.json", plain(figures, self._paths))
        data = figures.get("data")
        learned = data.get("train", 0) if isinstance(data, dict) else 0
        before = lineage_of(self._sealed, tenant.recipe.name, tenant.vocabulary, int(learned))
        own = before.steps[-1]
        step = Step(
            recipe=own.recipe,
            data=own.data,
            users=len(self._vocabulary.users),
            items=own.items,
            learned=own.learned,
            published=Published(
                users=self._shared.users, items=self._shared.items, plugins=foreign_plugins(tenant.recipe)
            ),
        )
        write_lineage(self._folder / LINEAGE, before.followed_by(tenant.manifest.digest, step))

    @property
    def _vocabulary(self) -> Vocabulary:
        known = self._tenant.vocabulary
        return known if self._shared.users else Vocabulary((), known.items)

    @property
    def _table(self) -> ItemTable:
        """Items as others see them: without texts an item is called by its id."""
        items = self._tenant.items
        if self._shared.items:
            return items
        ids = self._tenant.vocabulary.items
        return ItemTable(ids, [""] * len(ids), items.popularity, (), items.types)

    def _recipe(self, path: Path) -> None:
        recipe = published_recipe(self._tenant.recipe, self._tenant.manifest)
        path.write_text(recipe.to_yaml(), encoding="utf-8")

    def _catalogue(self, path: Path) -> None:
        write_catalogue(path, self._vocabulary, self._table)

    def _items(self, path: Path) -> None:
        write_items(path, self._vocabulary, self._table)

    def _signals(self, path: Path) -> None:
        """Write tensors without users; names of categories and entities are texts of people and items."""
        tensors, _ = self._read(SIGNALS)
        if not self._shared.users:
            tensors = without_users(tensors, user_tables(self._tenant.recipe), self._tenant.vocabulary.num_users)
        write_tensors(path, tensors)

    def _vectors(self, path: Path) -> None:
        """Write vectors of items' texts; of users' texts, which tell who they are, that of the unknown user."""
        tensors, told = self._read(VECTORS)
        write_tensors(path, {name: t[:1] if name == "user" else t for name, t in tensors.items()}, told or None)

    def _canary(self, path: Path) -> None:
        """Write the recorded scores of the unknown user."""
        tensors, _ = self._read(CANARY)
        unknown = tensors["users"] == UNKNOWN
        write_tensors(path, {n: t if n == "rows" else t[unknown] for n, t in tensors.items()})

    def _config(self, path: Path) -> None:
        fields: dict[str, Any] = json.loads(self._sealed.content(CONFIG))
        told = {**fields, "base_model_name_or_path": published_base(self._tenant.manifest)["name"]}
        path.write_text(json.dumps(told, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def _weights(self, path: Path) -> None:
        tensors, told = self._read(WEIGHTS)
        if BASE in told:
            named = {**json.loads(told[BASE]), "name": published_base(self._tenant.manifest)["name"]}
            told = {**told, BASE: json.dumps(named, sort_keys=True)}
        write_tensors(path, tensors, told or None)

    def _read(self, name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
        return tensors_in(self._sealed.content(name), self._sealed.folder / name)


def _nothing(path: Path) -> None:
    """Leave a file out."""
