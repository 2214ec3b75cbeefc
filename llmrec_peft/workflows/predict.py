"""Predict: scores for a file of pairs, streamed through memory a chunk at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from llmrec_peft.artifact.folder import whole_file
from llmrec_peft.errors import InputError
from llmrec_peft.run.recommender import Recommender

_KEYS = ("user_id", "item_id")
_CHUNK_BYTES = 4 << 20
_CHUNK_ROWS = 65_536
_ENDINGS = (".csv", ".parquet")


def predict(run: Path, source: Path, target: Path, overwrite: bool = False) -> int:
    """Score every pair of a file.

    Args:
        run: Run folder.
        source: CSV (with a header) or Parquet with `user_id` and `item_id`; further columns are handed on,
            and those that the item template names speak for items the run does not know.
        target: CSV or Parquet to write.
        overwrite: Whether to replace a target that exists.

    Returns:
        Number of rows.

    Raises:
        InputError: When a file cannot be read or written, or an item is unknown and has no text.
    """
    if target.exists() and not overwrite:
        raise InputError(f"{target} exists already: --overwrite replaces it")
    for path in (source, target):
        if path.suffix.lower() not in _ENDINGS:
            raise InputError(f"{path}: name it .csv or .parquet")
    if not source.is_file():
        raise InputError(f"no input file {source}")
    recommender = Recommender.from_pretrained(run)
    rows = 0
    with whole_file(target) as partial:
        writer: Any = None
        try:
            for batch in _batches(source):
                scored = _scored(recommender, batch, source, rows)
                if writer is None:
                    opened = pc.CSVWriter if target.suffix.lower() == ".csv" else pq.ParquetWriter
                    writer = opened(partial, scored.schema)
                writer.write_table(scored)
                rows += len(scored)
        finally:
            if writer is not None:
                writer.close()
        if writer is None:
            raise InputError(f"{source}: there are no rows")
    return rows


def _batches(source: Path) -> Iterator[pa.Table]:
    """Chunks of a file, ids as text."""
    try:
        if source.suffix.lower() == ".parquet":
            file = pq.ParquetFile(source)
            _require_keys(file.schema_arrow.names, source)
            for batch in file.iter_batches(batch_size=_CHUNK_ROWS):
                yield _with_text_ids(pa.Table.from_batches([batch]))
        else:
            options = pc.ConvertOptions(column_types=dict.fromkeys(_KEYS, pa.string()), strings_can_be_null=False)
            with pc.open_csv(source, pc.ReadOptions(block_size=_CHUNK_BYTES), convert_options=options) as reader:
                _require_keys(reader.schema.names, source)
                for batch in reader:
                    yield _with_text_ids(pa.Table.from_batches([batch]))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{source}: unreadable ({str(error).splitlines()[0]})") from None


def _require_keys(names: list[str], source: Path) -> None:
    for key in _KEYS:
        if key not in names:
            raise InputError(f"{source}: no column {key} (it has {', '.join(names)})")


def _with_text_ids(table: pa.Table) -> pa.Table:
    table = table.drop_columns([name for name in ("score", "basis") if name in table.schema.names])
    for key in _KEYS:
        at = table.schema.get_field_index(key)
        table = table.set_column(at, key, table.column(key).cast(pa.string()))
    return table


def _scored(recommender: Recommender, table: pa.Table, source: Path, done: int) -> pa.Table:
    """A chunk with `score` and `basis`; new items are added from their text columns first."""
    users, items = table.column("user_id").to_pylist(), table.column("item_id").to_pylist()
    text_columns = [name for name in table.schema.names if name not in ("user_id", "score", "basis")]
    known = recommender.catalogue.row_of
    new: dict[str, dict[str, Any]] = {}
    for at, item in enumerate(items):
        if not item or not users[at]:
            raise InputError(f"{source}, row {done + at + 1}: user_id or item_id is empty")
        if item not in known and item not in new:
            new[item] = {name: table.column(name)[at].as_py() for name in text_columns}
            if len(text_columns) == 1:
                raise InputError(
                    f"{source}, row {done + at + 1}: item {item!r} is unknown to the run; give its text columns"
                    f" (the template reads: {recommender.recipe.views.item.template[:60]!r})"
                )
    recommender.add_items(new.values())
    scores = recommender.score(users, items)
    user_index = recommender.vocabulary.user_indices(users)
    item_index = recommender.vocabulary.item_indices(items)
    basis = [
        "unknown-user" if user == 0 else "text" if item == 0 else "personal"
        for user, item in zip(user_index, item_index, strict=True)
    ]
    return table.append_column("score", pa.array(scores)).append_column("basis", pa.array(basis))
