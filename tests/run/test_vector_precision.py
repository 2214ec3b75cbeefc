"""Vectors of texts are stored in bf16 where the best items of many users stay the same, and in fp32 otherwise."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from resealed import resealed
from spoiled import change_tensors

from llmrec_peft import registry
from llmrec_peft.artifact.seen import Seen, read_learned
from llmrec_peft.backbone.tensor_files import read_tensors, read_texts, write_tensors
from llmrec_peft.backbone.tensor_stream import write_matrices
from llmrec_peft.run import vector_precision
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.run.vector_precision import stored_precision

VECTORS = "item_vectors.safetensors"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let thirty users and a small table count."""
    monkeypatch.setattr(vector_precision, "USERS", 30)
    monkeypatch.setattr(vector_precision, "LEAST_BYTES", 0)


def saved(recommender: Recommender, run: Path, folder: Path) -> Path:
    """Write a loaded run anew, as training writes it."""
    shutil.copytree(run, folder)
    learned = read_learned(run / "seen.safetensors")
    assert learned is not None
    seen = Seen(learned.user, learned.item, learned.label, time=learned.timestamp)
    method = registry.get("adapters", "none")(registry.get("adapters", "none").Config())
    recommender.save(folder, method, None, None, seen)
    return resealed(folder)


def scaled(run: Path, factor: float) -> Recommender:
    """The run with vectors that say more or less than the others signals do."""
    recommender = Recommender.from_pretrained(run)
    assert recommender.catalogue.vectors is not None
    return recommender.with_vectors(recommender.catalogue.vectors * factor)


def test_vectors_that_change_no_list_are_halved_and_answer_the_same(tiny_run: Path, tmp_path: Path) -> None:
    before = scaled(tiny_run, 1e-4)
    run = saved(before, tiny_run, tmp_path / "run")
    told = json.loads(read_texts(run / VECTORS)["precision"])
    assert told == {
        "stored": "bf16",
        "why": "the same best items in the same order",
        "users": 30,
        "best": 10,
        "differ": 0,
    }
    stored = read_tensors(run / VECTORS)["text"]
    assert (stored.dtype, stored.shape[0]) == (torch.bfloat16, 41)
    after = Recommender.from_pretrained(run)
    users, items = list(before.vocabulary.users), list(before.vocabulary.items)
    lists = [[item.item_id for item in answer.items] for answer in before.recommend(users, 10)]
    assert [[item.item_id for item in answer.items] for answer in after.recommend(users, 10)] == lists
    np.testing.assert_allclose(after.score(users[:20], items[:20]), before.score(users[:20], items[:20]), atol=1e-4)


def test_vectors_that_change_a_list_stay_in_fp32_to_the_last_bit(tiny_run: Path, tmp_path: Path) -> None:
    before = scaled(tiny_run, 30.0)
    run = saved(before, tiny_run, tmp_path / "run")
    told = json.loads(read_texts(run / VECTORS)["precision"])
    assert (told["stored"], told["users"]) == ("fp32", 30)
    assert told["differ"] > 0
    stored = read_tensors(run / VECTORS)["text"]
    assert before.catalogue.vectors is not None
    assert torch.equal(stored[1:], before.catalogue.vectors)
    users = list(before.vocabulary.users)
    assert Recommender.from_pretrained(run).recommend(users, 10) == before.recommend(users, 10)


def test_small_tables_and_few_users_are_not_compared(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = scaled(tiny_run, 1e-4).tenant
    assert stored_precision(tenant).stored == "bf16"
    monkeypatch.setattr(vector_precision, "USERS", 31)
    assert stored_precision(tenant).plain() == {
        "stored": "fp32",
        "why": "fewer than 31 users to compare",
        "users": 0,
        "best": 0,
        "differ": 0,
    }
    monkeypatch.setattr(vector_precision, "LEAST_BYTES", 1 << 20)
    assert stored_precision(tenant).why == "less than 1 MiB"


def test_added_items_join_vectors_in_bf16(tiny_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    change_tensors(run / VECTORS, lambda tensors: {"text": tensors["text"].bfloat16()})
    for name in ("item_matrix.safetensors", "canary.safetensors"):
        (run / name).unlink()
    recommender = Recommender.from_pretrained(resealed(run))
    row = {"item_id": "new", "title": "A film", "year": 1990, "genres": ["Drama"]}
    other = Recommender.from_pretrained(tiny_run)
    for one in (recommender, other):
        one.add_items([row])
    assert recommender.score(["1"], ["new"]) == pytest.approx(other.score(["1"], ["new"]), abs=1e-5)
    assert recommender.recommend(["1"], 41, seen=True)[0].items


def test_matrices_of_two_formats_lie_aligned_in_one_file(tmp_path: Path) -> None:
    text, user = torch.randn(3, 5).bfloat16(), torch.randn(2, 3)
    write_matrices(tmp_path / "new.safetensors", {"text": [text[:1], text[1:]], "user": [user]}, {"a": "b"})
    found = read_tensors(tmp_path / "new.safetensors")
    assert torch.equal(found["text"], text)
    assert torch.equal(found["user"], user)
    assert read_texts(tmp_path / "new.safetensors") == {"a": "b"}
    write_tensors(tmp_path / "other.safetensors", {"text": text, "user": user}, {"a": "b"})
    assert (tmp_path / "new.safetensors").read_bytes() == (tmp_path / "other.safetensors").read_bytes()
