"""Bytes of a tenant in each tier of an engine: of a run that is there, or on paper, of one that a recipe would give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft.artifact.manifest import is_there, read_manifest
from llmrec_peft.artifact.object_rows import as_texts
from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.backbone.tensor_files import read_stored
from llmrec_peft.recipe import Recipe
from llmrec_peft.recipe.variants import served
from llmrec_peft.run.language_model import FILES
from llmrec_peft.serving.mixing.slabs import PAGE_ROWS

if TYPE_CHECKING:
    from llmrec_peft.footprint.workload_data import WorkloadData

OBJECTS = 64 << 10
"""Private bytes of a loaded version beside its mapped files and its rows: Python's objects, as an engine counts."""
AN_ITEM, A_USER = 16, 8
"""Private bytes of an item and of a user: numbers of rows, as an engine counts them."""
MAPPED = (
    "catalogue.safetensors",
    "item_vectors.safetensors",
    "item_matrix.safetensors",
    "seen.safetensors",
    "signals.safetensors",
    "head.safetensors",
)
"""Files that an engine maps."""
ID, TITLE, ROW = 8, 24, 200
"""Characters of an id, a title and a row of columns that are assumed where no data is given."""
SMALL_FILES = 16 << 10
"""Bytes of configuration, recipe, figures, canary and manifest together."""
HEADER, NUMBERED = 96, 8
"""Bytes of a tensor in a file's header, and of a whole number."""
_FLOAT = 4
_PAGED = ("rank", "size", "num_virtual_tokens")


@dataclass(frozen=True)
class TenantBytes:
    """Bytes of one tenant.

    Attributes:
        adapter: In the accelerator's slab.
        private: In the host's memory, as long as its version is loaded.
        mapped: Of files that are mapped then: the system reads and drops their pages as it likes.
        disk: In the sealed store.
    """

    adapter: int
    private: int
    mapped: int
    disk: int

    def plain(self) -> dict[str, int]:
        """Return the fields by their names."""
        return {"adapter": self.adapter, "private": self.private, "mapped": self.mapped, "disk": self.disk}


def of_run(run: Path, itemsize: Callable[[Recipe], int]) -> tuple[Recipe, TenantBytes]:
    """Return a run's recipe and its bytes, from the sizes of its files; nothing is loaded.

    Args:
        run: Run folder.
        itemsize: Returns the bytes of a number of a recipe's base.

    Raises:
        InputError: If it is no run folder, or a file of it is missing.
    """
    manifest = read_manifest(run, verify=False)
    recipe = Recipe.from_plain(SealedFolder(run, manifest).recipe(), where=str(run / "recipe.yaml"))
    names = [*manifest.files, *manifest.reports, *(name for name in manifest.private if is_there(run / name))]
    sizes = {name: (run / name).stat().st_size for name in (*names, "manifest.json")}
    stored = 0
    if FILES[1] in sizes:
        stored = sum(tensor.end - tensor.begin for tensor in read_stored(run / FILES[1]).tensors.values())
    catalogue = read_stored(run / MAPPED[0]).tensors
    users, items = (catalogue[f"{name}.offsets"].shape[0] - 1 for name in ("users", "items"))
    private = objects(users, items) + sizes.get("users.parquet", 0)
    mapped = sum(sizes.get(name, 0) for name in MAPPED)
    return recipe, TenantBytes(paged(recipe, stored // _FLOAT, itemsize(recipe)), private, mapped, sum(sizes.values()))


def paged(recipe: Recipe, numbers: int, itemsize: int) -> int:
    """Return the bytes of an adapter in the slab, where ranks take whole pages.

    Args:
        recipe: Names the method and its rank.
        numbers: Numbers of the saved adapter.
        itemsize: Bytes of a number of the base, in whose format slots are.
    """
    config: Any = served(recipe).adapter.config
    rank = next((value for name in _PAGED if isinstance(value := getattr(config, name, None), int)), PAGE_ROWS)
    return numbers * itemsize * (-(-rank // PAGE_ROWS) * PAGE_ROWS) // rank


def on_paper(
    recipe: Recipe,
    data: WorkloadData,
    trained: int,
    tables: int,
    folded: int,
    learning: int,
    width: int,
    itemsize: int,
) -> TenantBytes:
    """Return the bytes of a tenant whose run a recipe would give.

    Args:
        recipe: The recipe, adapted to its data.
        data: Its data, or assumed sizes.
        trained: Numbers of the adapter.
        tables: Numbers of tables, projections and heads that are trained.
        folded: Numbers of the signals' tables that a run answers by.
        learning: Numbers of their learning parts.
        width: Width of texts' vectors.
        itemsize: Bytes of a number of the base.
    """
    users, items = data.users, data.items
    ids, titles, texts = _characters(data)
    reads = recipe.reads.signals.values()
    vectors = (items + 1) * width * _FLOAT if any(signal.uses_text() for signal in reads) else 0
    files = {
        "catalogue": ids
        + titles
        + _columns(recipe, data)
        + (users + 2 * items) * NUMBERED
        + (users + items) * _FLOAT
        + items * NUMBERED,
        "item_vectors": vectors,
        "item_matrix": items * (recipe.fusion.dim + 1) * _FLOAT,
        "seen": (users + 2) * NUMBERED + data.interactions * (2 * NUMBERED + _FLOAT),
        "signals": folded * _FLOAT,
    }
    mapped = sum(files.values())
    disk = mapped + trained * _FLOAT + texts + SMALL_FILES + (learning + tables + trained) * _FLOAT
    return TenantBytes(paged(recipe, trained, itemsize), objects(users, items), mapped, disk)


def objects(users: int, items: int) -> int:
    """Return the private bytes of a loaded version."""
    return OBJECTS + A_USER * users + AN_ITEM * items


def _columns(recipe: Recipe, data: WorkloadData) -> int:
    """Return the bytes of the owner's columns of items, which a run has where prompts name them."""
    if not recipe.reads.prompt:
        return 0
    if data.prepared is None:
        return data.items * (ROW + NUMBERED)
    return sum(len(text.encode()) + NUMBERED for text in as_texts(data.prepared.item_rows[1:]))


def _characters(data: WorkloadData) -> tuple[int, int, int]:
    """Return the bytes of all ids, of all titles, and of all texts of items as Parquet packs them, about one half."""
    if data.prepared is None:
        return (data.users + data.items) * ID, data.items * TITLE, data.items * TITLE // 2
    vocabulary = data.prepared.vocabulary
    ids = sum(len(name.encode("utf-8", "replace")) for name in (*vocabulary.users, *vocabulary.items))
    titles, texts = (
        sum(len(text.encode("utf-8", "replace")) for text in every)
        for every in (data.prepared.titles, data.prepared.texts)
    )
    return ids, titles, (texts + ids) // 2
