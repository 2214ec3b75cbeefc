"""Tensors that only remembering and following read lie in a file of their own, which no answer opens."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from former_runs import with_learning_parts
from resealed import resealed
from spoiled import change_tensors

from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.backbone.tensor_files import read_tensors
from llmrec_peft.errors import InputError
from llmrec_peft.explanation.what_if import WhatIf
from llmrec_peft.model.learning_parts import own_signals
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.run.signal_files import LEARNING, SIGNALS, write_signals
from llmrec_peft.serving.loading import Loading
from llmrec_peft.serving.sealed_store import SealedStore

pytestmark = pytest.mark.trains


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def scores_of(recommender: Recommender) -> np.ndarray:
    users, items = recommender.vocabulary.users, recommender.vocabulary.items
    return recommender.score(list(users[:20]), list(items[:20]))


def test_tables_that_were_folded_lie_apart_from_those_that_answer(tiny_run: Path) -> None:
    answering, learning = (read_tensors(tiny_run / name) for name in (SIGNALS, LEARNING))
    assert {name.split(".")[1] for name in answering if name.startswith("collaborative.")} == {"folded"}
    assert {"collaborative.user.weight", "collaborative.item_bias.weight"} <= learning.keys()
    assert not answering.keys() & learning.keys()


def test_a_run_answers_without_them_and_opens_no_file_of_theirs(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    stored = SealedFolder.stored

    def noted(self: SealedFolder, name: str, *given: Any) -> Any:
        opened.append(name)
        return stored(self, name, *given)

    sealed = SealedStore(tmp_path / "store").add(run)
    monkeypatch.setattr(SealedFolder, "stored", noted)
    tenant = Loading(torch.device("cpu"), try_adapters=False).load(sealed).tenant
    assert SIGNALS in opened
    assert LEARNING not in opened
    assert set(tenant.model.signals["collaborative"].parts) == {"folded"}
    whole = own_signals(tenant.model)["collaborative"].parts
    assert opened.count(LEARNING) == 1
    assert whole["user"].weight.equal(read_tensors(run / LEARNING)["collaborative.user.weight"])


def test_a_run_in_which_all_lie_together_answers_and_explains_as_before(run: Path, tiny_run: Path) -> None:
    with_learning_parts(run)
    resealed(run)
    before, after = Recommender.from_pretrained(run), Recommender.from_pretrained(tiny_run)
    assert set(before.model.signals["collaborative"].parts) == {"folded"}
    assert np.array_equal(scores_of(before), scores_of(after))
    explained = [WhatIf(one, one.loaded.learned()) for one in (before, after)]
    assert all(one.remembers for one in explained)
    states = [one.model.signal_parts.state_dict() for one in explained]
    assert states[0].keys() == states[1].keys()
    assert all(tensor.equal(states[1][name]) for name, tensor in states[0].items())


def without(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda tensors: {key: tensor for key, tensor in tensors.items() if key != name}


SPOILED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda path: path.unlink(), r"learning\.safetensors is missing"),
    "changed": (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?"), "is not what the run wrote"),
    "a tensor less": (
        lambda path: change_tensors(path, without("collaborative.user.weight")),
        r"learning\.safetensors: tensor user\.weight is missing",
    ),
    "a tensor that answers": (
        lambda path: change_tensors(path, lambda t: {**t, "collaborative.folded.user": torch.zeros(3)}),
        r"learning\.safetensors: tensor 'collaborative\.folded\.user' is of no learning part",
    ),
    "a short table": (
        lambda path: change_tensors(path, lambda t: {**t, "collaborative.user.weight": torch.zeros(2, 2)}),
        r"learning\.safetensors: tensor user\.weight has shape",
    ),
    "no number": (
        lambda path: change_tensors(
            path, lambda t: {**t, "collaborative.user.weight": t["collaborative.user.weight"] * torch.nan}
        ),
        r"learning\.safetensors: tensor user\.weight holds NaN or infinity",
    ),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_spoiled_file_of_theirs_changes_no_answer_and_is_refused_where_it_is_read(
    case: str, run: Path, tiny_run: Path
) -> None:
    spoil, message = SPOILED[case]
    spoil(run / LEARNING)
    if case not in ("missing", "changed"):
        resealed(run)
    recommender = Recommender.from_pretrained(run)
    assert np.array_equal(scores_of(recommender), scores_of(Recommender.from_pretrained(tiny_run)))
    with pytest.raises(InputError, match=message) as caught:
        WhatIf(recommender, recommender.loaded.learned())
    assert "\n" not in str(caught.value)


def test_signals_of_a_loaded_run_are_written_as_they_were(run: Path, tmp_path: Path) -> None:
    write_signals(tmp_path, Recommender.from_pretrained(run).model)
    for name in (SIGNALS, LEARNING):
        assert (tmp_path / name).read_bytes() == (run / name).read_bytes()


def test_signals_whose_parts_all_answer_have_one_file(task_runs: Callable[[str], Path]) -> None:
    run = task_runs("prompt")
    recommender = Recommender.from_pretrained(run)
    assert (recommender.model.unread is None) == (not any(s.learning_parts for s in recommender.model.signals.values()))
    assert (run / LEARNING).exists() == (recommender.model.unread is not None)
