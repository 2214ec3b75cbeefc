"""Scores that a run gave when it was written, and its stored items' side: kept by whoever loads it, or refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from resealed import resealed
from spoiled import change_tensors

from llmrec_peft.backbone.tensor_files import read_tensors
from llmrec_peft.errors import InputError
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.serving.engine import Engine

CANARY, MATRIX = "canary.safetensors", "item_matrix.safetensors"
Tensors = dict[str, torch.Tensor]


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of the trained run that may be spoiled."""
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def register(run: Path, tmp_path: Path) -> None:
    """Take a run into a new engine that does not load the base."""
    Engine(tmp_path / "store", device="cpu", try_adapters=False).register("shop", run)


@pytest.mark.parametrize("task", ["rating", "click", "ranking"])
def test_training_records_scores_of_known_users_and_an_unknown_one(
    task: str, tiny_run: Path, task_runs: Callable[[str], Path]
) -> None:
    run = tiny_run if task == "rating" else task_runs(task)
    told, recommender = read_tensors(run / CANARY), Recommender.from_pretrained(run)
    users = [recommender.vocabulary.users[at - 1] if at else "nobody" for at in told["users"].tolist()]
    items = [recommender.catalogue.ids[row] for row in told["rows"].tolist()]
    assert users[0] == "nobody"
    assert told["scores"].shape == (len(users), len(items)) == (16, 16)
    for at, user in enumerate(users):
        found = recommender.score([user] * len(items), items)
        np.testing.assert_allclose(told["scores"][at].numpy(), found, rtol=1e-5, atol=1e-5)
    assert (run / CANARY).stat().st_size < 4096


def test_run_that_encodes_to_score_has_none(task_runs: Callable[[str], Path]) -> None:
    run = task_runs("prompt")
    assert not (run / CANARY).exists()
    assert not (run / MATRIX).exists()


def bent(name: str) -> Callable[[Tensors], Tensors]:
    """The tensors, those of a name all larger."""
    return lambda tensors: {key: value * 1.01 + 0.01 if name in key else value for key, value in tensors.items()}


SPOILED: dict[str, tuple[str, Callable[[Tensors], Tensors]]] = {
    "other scores": (CANARY, bent("scores")),
    "other biases": ("signals.safetensors", bent("user")),
    "other weights": ("head.safetensors", bent("")),
}


@pytest.mark.parametrize("case", SPOILED)
def test_version_that_scores_otherwise_than_when_it_was_written_does_not_answer(
    case: str, run: Path, tmp_path: Path
) -> None:
    name, change = SPOILED[case]
    change_tensors(run / name, change)
    with pytest.raises(
        InputError, match=r"its score of user .* and item '.*' is .*, and was .* when the run"
    ) as caught:
        register(resealed(run), tmp_path)
    assert "\n" not in str(caught.value)


def test_version_without_histories_is_known_by_the_unknown_user(
    task_runs: Callable[[str], Path], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(task_runs("ranking"), tmp_path / "run"))
    histories = (run / "seen.safetensors").read_bytes()
    (run / "seen.safetensors").unlink()
    register(run, tmp_path)
    (run / "seen.safetensors").write_bytes(histories)
    change_tensors(run / CANARY, bent("scores"))
    resealed(run)
    (run / "seen.safetensors").unlink()
    with pytest.raises(InputError, match="its score of user unknown"):
        register(run, tmp_path / "other")


def put(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Tensors], Tensors]:
    """A change of one tensor."""
    return lambda tensors: {**tensors, name: change(tensors[name])}


HOSTILE: dict[str, tuple[str, Callable[[Tensors], Tensors], str]] = {
    "canary of another user": (CANARY, put("users", lambda t: t + 10**6), "an index is none of the run's"),
    "canary below zero": (CANARY, put("rows", lambda t: t - 1), "an index is none of the run's"),
    "canary of NaN": (CANARY, put("scores", lambda t: t * torch.nan), "a score is not a finite number"),
    "canary of one user": (CANARY, put("users", lambda t: t[:1]), "scores of at most 16 users and items are not"),
    "canary of nobody": (CANARY, put("users", lambda t: t[:0]), "scores of at most 16 users and items are not"),
    "canary of ints": (CANARY, put("scores", lambda t: t.long()), "no scores of users and items"),
    "canary and more": (CANARY, lambda t: {**t, "more": torch.zeros(1)}, "no scores of users and items"),
    "matrix of fewer": (MATRIX, put("vector", lambda t: t[:-1]), r"tensor vector is float32 \[39, \d+\], not"),
    "matrix of halves": (MATRIX, put("vector", lambda t: t.half()), r"tensor vector is float16"),
    "matrix of NaN": (MATRIX, put("offset", lambda t: t * torch.nan), "tensor offset holds NaN or infinity"),
    "narrower matrix": (MATRIX, put("vector", lambda t: t[:, :-1]), "its rows are not those that the run's signals"),
    "other matrix": (MATRIX, put("vector", lambda t: t + 1), "its rows are not those that the run's signals give"),
    "other offsets": (MATRIX, put("offset", lambda t: t + 1), "its rows are not those that the run's signals give"),
    "matrix and more": (MATRIX, lambda t: {**t, "more": torch.zeros(1)}, "not offset and vector"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_file_that_does_not_fit_is_refused_in_one_line(case: str, run: Path) -> None:
    name, change, message = HOSTILE[case]
    change_tensors(run / name, change)
    with pytest.raises(InputError, match=message) as caught:
        Recommender.from_pretrained(resealed(run))
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_stored_side_gives_the_lists_that_a_computed_one_gives(tiny_run: Path, run: Path) -> None:
    (run / MATRIX).unlink()
    stored, computed = Recommender.from_pretrained(tiny_run), Recommender.from_pretrained(resealed(run))
    users = [*stored.vocabulary.users[:20], "nobody"]
    assert stored.catalogue.side is not None
    assert stored.recommend(users, 3) == computed.recommend(users, 3)


def test_other_vectors_and_added_items_are_not_scored_by_the_stored_side(tiny_run: Path) -> None:
    recommender = Recommender.from_pretrained(tiny_run)
    vectors = recommender.catalogue.vectors
    assert vectors is not None
    assert recommender.with_vectors(vectors * 2).catalogue.side is None
    recommender.add_items([{"item_id": "new", "title": "A film", "year": 1990, "genres": ["Drama"]}])
    assert recommender.catalogue.side is None
    assert len(recommender.recommend(["1"], 50, seen=True)[0].items) == 41
