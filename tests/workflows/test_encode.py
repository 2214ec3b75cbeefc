"""Encode: every text's vector with its id, the same bits in whatever part; taken up, whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from llmrec_peft.artifact.manifest import read_manifest
from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.backbone.tensor_files import write_tensors
from llmrec_peft.cluster.parts import Parts
from llmrec_peft.errors import InputError, InterruptedTrainingError, NotFiniteError
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.experiment.texts import Texts
from llmrec_peft.recipe import Recipe, load_recipe
from llmrec_peft.workflows import encode as module
from llmrec_peft.workflows.encode import encode
from llmrec_peft.workflows.encode_worker import VIEW, EncodeWorker

USERS = ["views.user.template={{ user.occupation }} aged {{ user.age }}", "signals.text=true"]


@pytest.fixture
def recipe(tiny_data: Path, tiny_backbone: Path) -> Recipe:
    """Items' and users' texts read by the tiny backbone in fp32; `PART_ROWS` are 16."""
    changes = {"data.path": str(tiny_data), "backbone.name": str(tiny_backbone), "backbone.precision": "fp32"}
    return load_recipe("movies", USERS, changes)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Divide 40 items and 30 users into five parts."""
    monkeypatch.setattr(module, "PART_ROWS", 16)


def _read(path: Path) -> tuple[list[str], NDArray[Any]]:
    table = pq.read_table(path)
    names = [
        f"{view}:{name}" for view, name in zip(*(table.column(c).to_pylist() for c in ("view", "id")), strict=True)
    ]
    return names, np.stack(table.column("vector").to_numpy())


def test_vectors_are_those_that_training_starts_from_and_the_file_says_by_which_base(
    recipe: Recipe, tmp_path: Path
) -> None:
    target = tmp_path / "vectors.parquet"
    encoded = encode(recipe, target)
    assert (encoded.rows, encoded.width, encoded.parts, encoded.taken_up) == ({"item": 40, "user": 30}, 32, 5, 0)
    names, vectors = _read(target)
    prepared = prepare(recipe)
    backbone = load_backbone(recipe.backbone, torch.device("cpu"))
    texts = Texts(backbone, prepared, recipe)
    vocabulary = prepared.vocabulary
    assert names == [*(f"item:{one}" for one in vocabulary.items), *(f"user:{one}" for one in vocabulary.users)]
    assert texts.users is not None
    expected = torch.cat([texts.items[1:], texts.users[1:]]).numpy()
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-6)
    assert len(np.unique(vectors.round(5), axis=0)) > 40
    stored = pq.ParquetFile(target)
    assert stored.num_row_groups == 5
    metadata = {key.decode(): value.decode() for key, value in stored.schema_arrow.metadata.items()}
    assert json.loads(metadata["llmrec.base"]) == backbone.identity.plain() == encoded.base
    assert (metadata["llmrec.run"], metadata["llmrec.numbers"], metadata["llmrec.width"]) == ("", "float32", "32")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_vector_has_the_same_bits_in_whatever_part(
    precision: str, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe.changed({"backbone.precision": precision})
    encode(recipe, tmp_path / "small.parquet")
    monkeypatch.setattr(module, "PART_ROWS", 1000)
    encode(recipe, tmp_path / "large")
    names, vectors = _read(tmp_path / "small.parquet")
    parts = [_read(path) for path in sorted((tmp_path / "large").iterdir())]
    assert len(parts) == 2
    assert names == [name for some, _ in parts for name in some]
    assert np.array_equal(vectors, np.concatenate([one for _, one in parts]))


def test_a_runs_adapter_gives_the_vectors_that_the_run_stores(tiny_run: Path, tmp_path: Path) -> None:
    from llmrec_peft.run.recommender import Recommender

    encoded = encode(None, tmp_path / "tuned.parquet", run=tiny_run)
    names, vectors = _read(tmp_path / "tuned.parquet")
    recommender = Recommender.from_pretrained(tiny_run)
    assert names == [f"item:{one}" for one in recommender.catalogue.ids]
    assert recommender.catalogue.vectors is not None
    np.testing.assert_allclose(vectors, recommender.catalogue.vectors.numpy(), rtol=0, atol=1e-5)
    metadata = pq.read_schema(tmp_path / "tuned.parquet").metadata
    assert metadata[b"llmrec.run"].decode() == read_manifest(tiny_run).digest
    frozen = encode(recommender.recipe, tmp_path / "frozen.parquet")
    assert frozen.base == encoded.base
    assert not np.allclose(_read(tmp_path / "frozen.parquet")[1], vectors, atol=1e-4)


def test_half_precision_takes_half_the_space_and_refuses_what_it_cannot_hold(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode(recipe, tmp_path / "full.parquet")
    encode(recipe, tmp_path / "half.parquet", numbers="float16")
    full, half = _read(tmp_path / "full.parquet")[1], _read(tmp_path / "half.parquet")[1]
    assert half.dtype == np.float16
    assert np.array_equal(half, full.astype(np.float16))
    from llmrec_peft.workflows import encode_worker

    real = encode_worker._encoded
    monkeypatch.setattr(encode_worker, "_encoded", lambda *given: real(*given) * np.float32(1e6))
    with pytest.raises(NotFiniteError, match=r"the vector of '1' is not finite as halffloat: write float32"):
        encode(recipe, tmp_path / "large.parquet", numbers="float16")
    assert not (tmp_path / "large.parquet").exists()
    assert not list(tmp_path.glob(".*"))


def test_an_interrupted_job_goes_on_where_it_stopped_and_spoiled_parts_are_made_again(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    real = EncodeWorker.work

    def interrupted(worker: EncodeWorker, part: str) -> dict[str, Any]:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(part)
        return real(worker, part)

    monkeypatch.setattr(EncodeWorker, "work", interrupted)
    target = tmp_path / "vectors.parquet"
    with pytest.raises(InterruptedTrainingError, match="the same command goes on"):
        encode(recipe, target)
    assert not target.exists()
    results = tmp_path / ".vectors.parquet.encoding" / "results"
    assert sorted(path.name for path in results.iterdir()) == done
    (results / done[0]).write_bytes(b"PAR1 no Parquet PAR1")
    monkeypatch.setattr(EncodeWorker, "work", real)
    assert encode(recipe, target).taken_up == 2
    whole = tmp_path / "whole.parquet"
    encode(recipe, whole)
    assert target.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob(".*"))


@pytest.fixture
def own_base(recipe: Recipe, tmp_path: Path) -> Recipe:
    """The recipe over a copy of its base."""
    shutil.copytree(recipe.backbone.name, tmp_path / "base")
    return recipe.changed({"backbone.name": str(tmp_path / "base")})


def _with_other_weights(recipe: Recipe) -> None:
    path = Path(recipe.backbone.name) / "model.safetensors"
    write_tensors(path, {name: tensor * 1.5 for name, tensor in load_file(path).items()}, {"format": "pt"})


def _with_other_tokenizer(recipe: Recipe) -> None:
    path = Path(recipe.backbone.name) / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"lowercase":true', '"lowercase":false'), encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        ({}, None),
        ({"views.item.template": "{{ title }}"}, None),
        ({"views.item.max_length": 5}, None),
        ({"backbone.precision": "bf16"}, None),
        ({"backbone.pooling": "cls"}, None),
        ({"numbers": "float16"}, None),
        ({"version": "0.0.0"}, None),
        ({}, _with_other_weights),
        ({}, _with_other_tokenizer),
    ],
)
def test_parts_are_taken_up_where_nothing_has_changed_that_a_vector_depends_on(
    changes: dict[str, Any],
    changed: Callable[[Recipe], None] | None,
    own_base: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe, real, target = own_base, EncodeWorker.work, tmp_path / "vectors.parquet"

    def interrupted(worker: EncodeWorker, part: str) -> dict[str, Any]:
        if part.startswith("000002"):
            raise KeyboardInterrupt
        return real(worker, part)

    monkeypatch.setattr(EncodeWorker, "work", interrupted)
    with pytest.raises(InterruptedTrainingError):
        encode(recipe, target)
    monkeypatch.setattr(EncodeWorker, "work", real)
    given = dict(changes)
    numbers = given.pop("numbers", "float32")
    monkeypatch.setattr(module, "__version__", given.pop("version", module.__version__))
    if changed is not None:
        changed(recipe)
    again = encode(recipe.changed(given), target, numbers=numbers)
    assert again.taken_up == (0 if changes or changed else 2)
    encode(recipe.changed(given), tmp_path / "whole.parquet", numbers=numbers)
    assert target.read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_a_worker_that_has_another_base_ends_the_job(recipe: Recipe, tmp_path: Path) -> None:
    table = pa.table({"item_id": ["1"], "title": ["Heat"]}).replace_schema_metadata({VIEW: b"item"})
    with Parts.of(tmp_path / "vectors.parquet", "encoding") as parts:
        [name] = parts.begin({}, [table])
        given = {"folder": str(parts.folder), "job": parts.job, "recipe": recipe.plain(), "numbers": "float32"}
        worker = EncodeWorker(**given, base={"weights_sha256": "0" * 64})
        with pytest.raises(InputError, match="not the one with which the job was begun: weights_sha256 is"):
            worker.work(name)


def test_texts_that_are_all_the_same_are_noted_once(recipe: Recipe, tmp_path: Path) -> None:
    noted = {}
    for name, template in (("same", "a film"), ("apart", "{{ title }}")):
        changed = recipe.changed({"views.item.template": template})
        noted[name] = encode(changed, tmp_path / f"{name}.parquet").notes
        _, vectors = _read(tmp_path / f"{name}.parquet")
        assert (len(np.unique(vectors[:40], axis=0)) == 1) == (name == "same")
    assert noted["apart"] == ()
    [said] = noted["same"]
    assert said.startswith("all 40 texts of items are the same, so their vectors are equal")
    assert "views.item.template" in said


def test_what_is_wrong_is_said_before_anything_is_encoded(
    recipe: Recipe, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EncodeWorker, "work", None)
    there = tmp_path / "there.parquet"
    there.write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for match, given in {
        "exists already: --overwrite replaces it, --output names another file": {"recipe": recipe, "target": there},
        "folder exists already: --output names another folder": {"recipe": recipe, "target": tmp_path / "folder"},
        "say what to encode": {"recipe": recipe, "target": tmp_path / "a", "run": tiny_run},
        "float32 or float16, not 'int4'": {"recipe": recipe, "target": tmp_path / "a", "numbers": "int4"},
    }.items():
        with pytest.raises(InputError, match=match):
            encode(**given)  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "there.parquet"]
