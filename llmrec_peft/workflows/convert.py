"""Convert: a run folder of the former format written in this one; what answers stays as it is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llmrec_peft.artifact.catalogue_file import FILE as CATALOGUE
from llmrec_peft.artifact.catalogue_file import CatalogueFile, read_catalogue, write_catalogue
from llmrec_peft.artifact.folder import require_free, whole_folder
from llmrec_peft.artifact.former_format import ITEMS, SEEN, VOCABULARY, FormerTables, open_former, read_former
from llmrec_peft.artifact.manifest import FORMAT, NAME, Manifest, is_there, limit_of, make_manifest, write_json
from llmrec_peft.artifact.object_rows import ObjectRows
from llmrec_peft.artifact.place import require_replaceable
from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.artifact.seen import read_learned, read_seen, write_seen
from llmrec_peft.artifact.tables import read_item_texts, table_of, write_items
from llmrec_peft.errors import InputError
from llmrec_peft.identity import __version__
from llmrec_peft.regular_files import is_file
from llmrec_peft.run.canary import write_scores
from llmrec_peft.run.language_model import LanguageModel
from llmrec_peft.run.read_tenant import read_tenant

_SEEN = "seen.safetensors"


def convert(run: Path, out: Path | None = None) -> dict[str, Any]:
    """Write a run of the former format in this one, and compare what was written with what was read.

    Tensors, adapter and recipe are copied byte by byte. Ids, titles, popularity, texts, types and histories change
    their file; each value is read back and compared. The digest is another one, and the manifest keeps the former.

    Args:
        run: Run folder of the former format.
        out: Folder to write; by default the run is replaced, in one step.

    Returns:
        ``run``, the folder; ``former`` and ``digest``; ``format``; ``items`` and ``users``.

    Raises:
        InputError: If it is no run of that format, a file is missing or changed, or the folder cannot be written; the
            run is as it was then.
    """
    sealed = open_former(run)
    if out is None:
        require_replaceable(run)
    else:
        require_free(out, overwrite=False, advice="--out names another folder")
    recommends = VOCABULARY in sealed.manifest.files
    tables = read_former(sealed) if recommends else None
    with whole_folder(out or run, overwrite=out is None) as folder:
        _copy(sealed, folder)
        if tables is not None:
            _write(tables, folder)
            _require_same(tables, folder)
        former = sealed.manifest.digest
        manifest = _seal(folder, sealed.manifest.base, former)
        if tables is not None:
            _add_scores(folder)
            manifest = _seal(folder, sealed.manifest.base, former)
    counts = {} if tables is None else {"users": len(tables.vocabulary.users), "items": len(tables.vocabulary.items)}
    told = {"run": str(out or run), "former": former, "digest": manifest.digest, "format": FORMAT}
    return {**told, **counts}


def _seal(folder: Path, base: dict[str, str | None], former: str) -> Manifest:
    """Write the manifest of what lies in the folder."""
    manifest = make_manifest(folder, base, __version__, former)
    write_json(folder / NAME, manifest.model_dump(mode="json"))
    return manifest


def _add_scores(folder: Path) -> None:
    """Load the run, and write the items' side of its scores and the scores by which it is known."""
    cpu = torch.device("cpu")
    tenant = read_tenant(folder, cpu, lambda manifest, recipe: LanguageModel(recipe.backbone, manifest.base, cpu))
    write_scores(folder, tenant)


def _copy(sealed: SealedFolder, folder: Path) -> None:
    """Copy the files that stay as they are, each held against the manifest, and the model card and logs."""
    manifest = sealed.manifest
    needed = [*manifest.files, *manifest.reports]
    private = [name for name in manifest.private if is_there(sealed.folder / name)]
    for name in (*needed, *private):
        if name not in (VOCABULARY, ITEMS, SEEN):
            if not is_there(sealed.folder / name):
                raise InputError(f"{sealed.folder}: {name} is missing")
            sealed.copy(name, folder / name, limit_of(name))
    prose = [sealed.folder / "README.md", *sorted((sealed.folder / "logs").rglob("*"))]
    for path in prose:
        if is_file(path) and not path.is_symlink():  # a FIFO would wait for ever, a link leads elsewhere
            target = folder / path.relative_to(sealed.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def _write(tables: FormerTables, folder: Path) -> None:
    write_catalogue(folder / CATALOGUE, tables.vocabulary, tables.items)
    write_items(folder / ITEMS, tables.vocabulary, tables.items)
    if tables.seen is not None:
        write_seen(folder / _SEEN, tables.seen, tables.vocabulary.num_users)


def _require_same(tables: FormerTables, folder: Path) -> None:
    """Read back what was written and compare every value.

    Raises:
        InputError: If one differs; nothing is converted then.
    """
    kept = read_catalogue(folder / CATALOGUE)
    table = table_of(folder / ITEMS, None)
    same = {
        "ids": kept.vocabulary == tables.vocabulary,
        "titles": kept.titles == tables.items.titles,
        "popularity": np.array_equal(kept.popularity, tables.items.popularity),
        "types of columns": kept.types == tables.items.types,
        "texts": read_item_texts(table, kept.vocabulary) == tables.items.texts,
        "columns": tuple(ObjectRows(kept.columns or ())) == tuple(tables.items.columns),
        "histories": tables.seen is None or _same_histories(tables, kept, folder / _SEEN),
    }
    wrong = [what for what, equal in same.items() if not equal]
    if wrong:
        raise InputError(f"{folder}: {wrong[0]} of the converted run are not those of the former one")


def _same_histories(tables: FormerTables, kept: CatalogueFile, path: Path) -> bool:
    """Return whether each user has the same entries in the same order, and the same of them were trained on."""
    assert tables.seen is not None  # noqa: S101 - asked by the caller
    before, after = tables.seen.by_user(kept.vocabulary.num_users), read_seen(path, kept.vocabulary)
    learned, order = read_learned(path), np.argsort(tables.seen.user, kind="stable")
    assert learned is not None  # noqa: S101 - the file was written
    flags = tables.seen.learned
    rows = order if flags is None else order[flags[order]]
    pairs: list[tuple[Any, Any]] = [
        (before.item, after.item),
        (before.label, after.label),
        (before.begin, after.begin),
        (before.end, after.end),
        (tables.seen.user[rows], learned.user),
        (tables.seen.item[rows], learned.item),
    ]
    if before.time is not None and after.time is not None:
        pairs.append((before.time, after.time))
    return all(np.array_equal(one, other) for one, other in pairs) and (before.time is None) == (after.time is None)
