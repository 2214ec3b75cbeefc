"""Runs as format 3 laid them out, made of this version's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llmrec_peft.artifact.catalogue_file import read_catalogue
from llmrec_peft.artifact.manifest import ADDED, FORMER, make_manifest, write_json
from llmrec_peft.artifact.manifest import _digest as digest_of
from llmrec_peft.backbone.tensor_files import read_tensors, read_texts, write_tensors


def former(run: Path, folder: Path) -> Path:
    """Write a run in format 3; its users' columns and reports stay as they are."""
    shutil.copytree(run, folder)
    kept, seen = read_catalogue(run / "catalogue.safetensors"), read_tensors(run / "seen.safetensors")
    users, items = list(kept.vocabulary.users), list(kept.vocabulary.items)
    kinds = ["user"] * len(users) + ["item"] * len(items)
    pq.write_table(pa.table({"kind": kinds, "id": [*users, *items]}), folder / "vocabulary.parquet")
    table = pq.read_table(run / "items.parquet")
    table = table.append_column("title", pa.array(list(kept.titles))).append_column(
        "popularity", pa.array(kept.popularity)
    )
    if kept.columns is not None:
        table = table.append_column("columns", pa.array(list(kept.columns)))
    if kept.types is not None:
        plain = {name: column.plain() for name, column in kept.types.items()}
        table = table.replace_schema_metadata({"llmrec_peft.column_types": json.dumps(plain)})
    pq.write_table(table, folder / "items.parquet")
    user = np.repeat(np.arange(len(users) + 1), np.diff(seen["bounds"].numpy()))
    learned = seen["learned"].numpy().astype(bool) if "learned" in seen else np.ones(len(user), bool)
    columns = {"user": user, "item": seen["item"].numpy(), "label": seen["label"].numpy(), "learned": learned}
    if "timestamp" in seen:
        columns["timestamp"] = seen["timestamp"].numpy()
    pq.write_table(pa.table(columns), folder / "seen.parquet")
    with_learning_parts(folder)
    for name in (*ADDED, "seen.safetensors"):
        (folder / name).unlink(missing_ok=True)
    return sealed_former(folder)


def with_learning_parts(folder: Path) -> None:
    """Put tensors of learning parts among the others, where they lay before they had a file of their own."""
    path, apart = folder / "signals.safetensors", folder / "learning.safetensors"
    if apart.is_file():
        write_tensors(path, {**read_tensors(path), **read_tensors(apart)}, read_texts(path) or None)
        apart.unlink()


def with_columns_in_table(folder: Path) -> None:
    """Put the owner's columns of items beside their texts, where they lay before the catalogue had them."""
    path, items = folder / "catalogue.safetensors", folder / "items.parquet"
    columns = pa.array(list(read_catalogue(path).columns or ()))
    pq.write_table(pq.read_table(items).append_column("columns", columns), items)
    tensors = {name: one for name, one in read_tensors(path).items() if not name.startswith("columns.")}
    write_tensors(path, tensors, read_texts(path))


def sealed_former(folder: Path) -> Path:
    """Make the manifest of a run of format 3 true of what lies in the folder."""
    values = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    made = make_manifest(folder, values["base"], "0.1.0")
    extra = {name: _sha(folder / name) for name in ("vocabulary.parquet",)}
    private = {name: _sha(folder / name) for name in FORMER.private if (folder / name).is_file()}
    files = {**made.files, **extra}
    told = {
        "format": 3,
        "files": files,
        "private": private,
        "digest": digest_of(values["base"], files, private, FORMER.histories),
    }
    plain = {**made.model_dump(mode="json"), **told}
    del plain["former"]
    write_json(folder / "manifest.json", plain)
    return folder


def _sha(path: Path) -> str:
    from llmrec_peft.identity import file_digest

    return file_digest(path)
