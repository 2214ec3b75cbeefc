"""`llmrec export-vectors`: an Arrow file whose products are the run's scores, written whole or not at all."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.workflows.export_vectors import export_vectors

Command = Callable[..., subprocess.CompletedProcess[str]]


def read(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def matrix(table: pa.Table) -> np.ndarray:
    width = table.schema.field("vector").type.list_size
    return table["vector"].combine_chunks().flatten().to_numpy().reshape(-1, width)


def test_products_of_both_files_are_the_scores(tiny_run: Path, tmp_path: Path) -> None:
    recommender = Recommender.from_pretrained(tiny_run)
    assert export_vectors(tiny_run, tmp_path / "items.arrow") == len(recommender.catalogue.ids)
    assert export_vectors(tiny_run, tmp_path / "users.arrow", users=True) == len(recommender.vocabulary.users)
    items, users = read(tmp_path / "items.arrow"), read(tmp_path / "users.arrow")
    assert items.column_names == ["item_id", "title", "vector"]
    assert users.column_names == ["user_id", "vector", "constant"]
    assert items.schema.field("vector").type == pa.list_(pa.float32(), recommender.recipe.fusion.dim + 1)
    assert items["title"].to_pylist() == list(recommender.items.titles)
    whole = matrix(users) @ matrix(items).T + users["constant"].to_numpy()[:, None]
    names = users["user_id"].to_pylist()[:7]
    ids = items["item_id"].to_pylist()
    for row, user in enumerate(names):
        expected = recommender.score([user] * len(ids), ids)
        np.testing.assert_allclose(whole[row].clip(1.0, 5.0), expected, rtol=1e-4, atol=1e-4)


def test_metadata_says_what_the_vectors_are(tiny_run: Path, tmp_path: Path) -> None:
    export_vectors(tiny_run, tmp_path / "items.arrow")
    told = {key.decode(): value.decode() for key, value in read(tmp_path / "items.arrow").schema.metadata.items()}
    manifest = Recommender.from_pretrained(tiny_run).manifest
    assert manifest is not None
    assert told["run"] == manifest.digest
    assert (told["metric"], told["offset"], told["normalized"]) == ("inner product", "last dimension", "false")
    assert (told["head"], told["unit"]) == ("rating", "stars")


def test_file_that_exists_is_replaced_only_when_asked(tiny_run: Path, tmp_path: Path) -> None:
    target = tmp_path / "items.arrow"
    target.write_bytes(b"mine")
    with pytest.raises(InputError, match="exists already: --overwrite replaces it"):
        export_vectors(tiny_run, target)
    assert target.read_bytes() == b"mine"
    export_vectors(tiny_run, target, overwrite=True)
    assert read(target).num_rows > 0
    assert [path.name for path in tmp_path.iterdir()] == ["items.arrow"]


def test_command_writes_and_refuses_in_one_line(tiny_run: Path, tmp_path: Path, llmrec: Command) -> None:
    done = llmrec("export-vectors", tiny_run, "--out", tmp_path / "items.arrow")
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"40 vectors in {tmp_path / 'items.arrow'}\n"
    for arguments in (
        (tiny_run, "--out", tmp_path / "items.arrow"),
        (tiny_run, "--out", tmp_path / "no" / "items.arrow"),
        (tmp_path, "--out", tmp_path / "other.arrow"),
    ):
        done = llmrec("export-vectors", *arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["items.arrow"]
