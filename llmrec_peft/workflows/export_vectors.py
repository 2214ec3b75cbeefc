"""Export vectors: a run's items, or users, as an Arrow file that any index of nearest neighbours can take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llmrec_peft import __version__
from llmrec_peft.artifact.folder import whole_file
from llmrec_peft.artifact.place import require_file
from llmrec_peft.run.recommender import Recommender

METRIC = "inner product"


def export_vectors(run: Path, target: Path, users: bool = False, overwrite: bool = False) -> int:
    """Write vectors whose inner products are the run's scores.

    Items: ``item_id``, ``title``, ``vector``. Users: ``user_id``, ``vector``, ``constant``; ⟨user, item⟩ + constant
    is the score. An item's offset is the last dimension of its vector; that of users is 1. The schema's metadata
    says which run, and whether vectors without that dimension have length 1.

    Args:
        run: Run folder.
        target: Arrow IPC file to write, as a whole or not at all.
        users: Whether users are written instead of items.
        overwrite: Whether it may replace a file.

    Returns:
        Number of rows.

    Raises:
        InputError: When the folder is no run, its scores are no product, or `target` is not to be replaced.
    """
    require_file(target, overwrite)
    recommender = Recommender.from_pretrained(run)
    columns: dict[str, pa.Array]
    if users:
        side = recommender.user_vectors(recommender.vocabulary.users)
        columns = {
            "user_id": pa.array(side.ids, pa.string()),
            "vector": _fixed(side.vectors),
            "constant": pa.array(side.constant, pa.float32()),
        }
        normalized, unit = side.normalized, side.unit
    else:
        items = recommender.item_vectors()
        columns = {
            "item_id": pa.array(items.ids, pa.string()),
            "title": pa.array(items.titles, pa.string()),
            "vector": _fixed(items.vectors),
        }
        normalized, unit = items.normalized, items.unit
    metadata = {
        "run": recommender.loaded.manifest.digest,
        "head": recommender.recipe.head.name,
        "metric": METRIC,
        "unit": unit,
        "offset": "last dimension",
        "normalized": "true" if normalized else "false",
        "version": __version__,
    }
    table = pa.table(columns).replace_schema_metadata(metadata)
    with (
        whole_file(target, overwrite) as partial,
        pa.OSFile(str(partial), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as to,
    ):
        to.write_table(table, max_chunksize=65_536)
    return int(table.num_rows)


def _fixed(vectors: NDArray[np.float32]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1), pa.float32()), vectors.shape[1])
