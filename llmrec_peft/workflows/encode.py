"""Encode: all texts of a recipe as vectors in Parquet, by the frozen base or with a run's adapter, here or by Ray."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llmrec_peft import __version__
from llmrec_peft.artifact.folder import require_free, whole_file, whole_folder
from llmrec_peft.artifact.place import require_file
from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.backbone.base import content_of
from llmrec_peft.backbone.locate import locate
from llmrec_peft.cluster.job import going_on, work_through
from llmrec_peft.cluster.parts import RESULTS, Parts
from llmrec_peft.cluster.pool import Pool
from llmrec_peft.data.dataset import RecDataset, arrow
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.prepare import read_dataset
from llmrec_peft.printable import shown
from llmrec_peft.progress import Progress
from llmrec_peft.recipe import Recipe
from llmrec_peft.run.known_recipes import recipe_of
from llmrec_peft.workflows.encode_worker import COLUMNS, FORMATS, VIEW, EncodeWorker

PART_ROWS = 2048
"""Texts of a part, which is also a row group: what one worker holds, and what an interruption costs."""
_ADAPTER = "adapter_model.safetensors"
_OTHER_FILES = frozenset((".csv", ".tsv", ".txt", ".json", ".jsonl", ".npy", ".npz", ".safetensors", ".gz", ".zst"))
"""Endings of files that are not written; a folder that is called so would be a surprise."""


@dataclass(frozen=True)
class Encoded:
    """What was encoded.

    Attributes:
        rows: Vectors, by view.
        cut: Texts that were longer than the tokens that are read, by view.
        width: Width of a vector.
        numbers: Type of its numbers.
        base: Identity of the base, as `llmrec_peft.backbone.base.BaseIdentity.plain` gives it.
        parts: Parts that the work was divided into.
        taken_up: Parts that an interrupted process had done.
        seconds: Time that it took.
        notes: What was not encoded, and of which view all texts are the same, a line each.
    """

    rows: Mapping[str, int]
    cut: Mapping[str, int]
    width: int
    numbers: str
    base: Mapping[str, str | None]
    parts: int
    taken_up: int
    seconds: float
    notes: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)


def encode(
    recipe: Recipe | None,
    target: Path,
    run: Path | None = None,
    data: str | None = None,
    numbers: str = "float32",
    overwrite: bool = False,
    pool: Pool | None = None,
    show: bool = False,
) -> Encoded:
    """Encode the texts of all items, and of all users where the recipe reads such, into Parquet.

    Columns: ``id``, ``view`` (``item`` or ``user``), ``vector``, a list of fixed size. The schema's metadata says by
    which base, and by which run's adapter. An interrupted job is taken up by the same call.

    Args:
        recipe: What is read; None with `run`, whose recipe it is then.
        target: A file that ends in ``.parquet``, with a row group a part, or a new folder with a file a part.
        run: Run folder whose adapter is used.
        data: Where a run's data lies now; by default where the run found it.
        numbers: ``float32`` or ``float16``.
        overwrite: Whether a file may be replaced; a folder never is.
        pool: Who works; by default this process.
        show: Whether to show a progress bar.

    Raises:
        InputError: When recipe, run, data or base are not right, or the target cannot be written.
        InterruptedTrainingError: When it was interrupted; what is done stays.
    """
    started = time.monotonic()
    if (recipe is None) == (run is None):
        raise InputError("say what to encode: a recipe, or a run with --run")
    if numbers not in FORMATS:
        raise InputError(f"numbers are {' or '.join(FORMATS)}, not {numbers!r:.40}")
    if target.suffix.lower() in _OTHER_FILES:
        raise InputError(f"{shown(target)}: vectors are written as Parquet: name it .parquet, or name a folder")
    single = target.suffix.lower() == ".parquet"
    if single:
        require_file(target, overwrite, "--output")
    else:
        require_free(target, overwrite=False, advice="--output names another folder")
    recipe, digest = (recipe, "") if recipe is not None else _recipe_of(run, data)
    base = _base_of(recipe) if run is None else {}  # a run's digest covers its base
    notes, tables = _tables(recipe, read_dataset(recipe.data))
    asked = {
        "what": "encode",
        "views": recipe.views.model_dump(mode="json"),
        "backbone": recipe.backbone.model_dump(mode="json"),
        "base": base,
        "run": digest,
        "numbers": numbers,
        "version": __version__,
    }
    arguments = {
        "recipe": recipe.plain(),
        "numbers": numbers,
        "run": None if run is None else str(run.absolute()),
        "digest": digest,
        "base": base,
    }
    with going_on(target), Parts.of(target, "encoding") as parts:
        rows = parts.begin(asked, _inputs(tables))
        reports, before = work_through(
            parts, rows, pool or Pool(), EncodeWorker, arguments, "encoding, texts", Progress(show)
        )
        metadata = _metadata(recipe, digest, numbers, list(reports.values()))
        if single:
            _write_file(target, overwrite, parts, list(rows), metadata)
        else:
            _write_folder(target, parts, list(rows), metadata)
    return _encoded(reports, numbers, before, notes, time.monotonic() - started)


def _recipe_of(run: Path | None, data: str | None) -> tuple[Recipe, str]:
    """Return a run's recipe and digest.

    Raises:
        InputError: If the run has no adapter, since it reads no texts.
    """
    assert run is not None  # noqa: S101 - asked before
    sealed = SealedFolder.open(run)
    recipe = recipe_of(sealed)
    if _ADAPTER not in sealed.manifest.files:
        raise InputError(f"{shown(run)}: this run reads no texts, so it has no adapter to encode any with")
    return recipe if data is None else recipe.changed({"data.path": data}), sealed.manifest.digest


def _base_of(recipe: Recipe) -> dict[str, str | None]:
    """Return the digests of a recipe's base on this machine.

    Raises:
        InputError: If it is not there.
    """
    found = locate(recipe.backbone.name, recipe.backbone.revision)
    return content_of(found.weights_sha256, found.files)


def _tables(recipe: Recipe, dataset: RecDataset) -> tuple[list[str], dict[str, pa.Table]]:
    """Return what texts are made of, by view, and which texts of the recipe are not encoded."""
    tables, notes, reads = {"item": arrow(dataset.items)}, [], recipe.reads
    if reads.user_text and not reads.user_text_by_example:
        tables["user"] = arrow(dataset.users)
    elif reads.user_text:
        notes.append("views.user tells a history: there is a text an example, not a user, and none of them is encoded")
    if reads.prompt:
        notes.append("prompts are made of a user and an item together: they are not encoded")
    return notes, tables


def _inputs(tables: Mapping[str, pa.Table]) -> Iterator[pa.Table]:
    """Divide the tables into parts that say their view."""
    for view, table in tables.items():
        for at in range(0, len(table), PART_ROWS):
            yield table.slice(at, PART_ROWS).replace_schema_metadata({VIEW: view.encode()})


def _metadata(recipe: Recipe, digest: str, numbers: str, reports: list[dict[str, Any]]) -> dict[str, str]:
    """Return what the file says of its vectors.

    Raises:
        InputError: If parts were encoded by different bases, as on machines of which only some compute in bf16.
    """
    first = reports[0]
    for report in reports[1:]:
        for name, value in first["base"].items():
            if report["base"].get(name) != value:
                raise InputError(
                    f"parts were encoded by different bases: {name} is {value} for some and {report['base'].get(name)}"
                    " for others; workers need the same base, and backbone.precision other than auto if their"
                    " processors differ"
                )
    return {
        "llmrec.format": "1",
        "llmrec.version": __version__,
        "llmrec.recipe": recipe.name,
        "llmrec.run": digest,
        "llmrec.base": json.dumps(first["base"], sort_keys=True),
        "llmrec.reads": json.dumps(first["reads"], sort_keys=True),
        "llmrec.views": json.dumps(recipe.views.model_dump(mode="json"), sort_keys=True),
        "llmrec.numbers": numbers,
        "llmrec.width": str(first["width"]),
    }


def _write_file(target: Path, overwrite: bool, parts: Parts, names: list[str], metadata: dict[str, str]) -> None:
    """Join the parts in one file, a row group each."""
    with whole_file(target, overwrite) as partial, contextlib.ExitStack() as stack:
        writer = None
        for name in names:
            table = parts.result(name).replace_schema_metadata(metadata)
            if writer is None:
                writer = stack.enter_context(_writer(partial, table.schema))
            writer.write_table(table, row_group_size=max(1, len(table)))


def _write_folder(target: Path, parts: Parts, names: list[str], metadata: dict[str, str]) -> None:
    """Put the parts into a folder, a file each."""
    with whole_folder(target) as folder:
        for name in names:
            table = parts.result(name).replace_schema_metadata(metadata)
            with _writer(folder / f"part-{name}", table.schema) as writer:
                writer.write_table(table)
            os.unlink(parts.folder / RESULTS / name)  # noqa: PTH108 - so that the disk holds each vector once


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a file whose vectors are stored as they are: they cannot be packed, and their statistics say nothing."""
    return pq.ParquetWriter(path, schema, use_dictionary=["view"], write_statistics=["id", "view"])


def _encoded(
    reports: Mapping[str, dict[str, Any]], numbers: str, before: int, notes: list[str], seconds: float
) -> Encoded:
    rows: dict[str, int] = dict.fromkeys(COLUMNS, 0)
    cut = dict(rows)
    for report in reports.values():
        rows[report["view"]] += report["rows"]
        cut[report["view"]] += report["cut"]
    views = [view for view, count in rows.items() if count]
    first = next(iter(reports.values()))
    alike = [_said_alike(view, rows[view], reports) for view in views]
    return Encoded(
        rows={view: rows[view] for view in views},
        cut={view: cut[view] for view in views},
        width=first["width"],
        numbers=numbers,
        base=first["base"],
        parts=len(reports),
        taken_up=before,
        seconds=round(seconds, 3),
        notes=(*notes, *(line for line in alike if line is not None)),
    )


def _said_alike(view: str, count: int, reports: Mapping[str, dict[str, Any]]) -> str | None:
    """Say that all texts of a view are one text, whose vectors tell nothing apart; None if they differ."""
    digests = {report.get("alike") for report in reports.values() if report["view"] == view}
    if count < 2 or None in digests or len(digests) > 1:  # noqa: PLR2004
        return None
    return (
        f"all {count} texts of {view}s are the same, so their vectors are equal and tell no {view} from another:"
        f" views.{view}.template has to name columns that differ"
    )
