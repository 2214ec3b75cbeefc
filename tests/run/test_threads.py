"""Threads: a call is answered by one run as it was when the call began, and no added item is lost."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from resealed import resealed
from spoiled import change_tensors

from llmrec_peft.errors import InputError
from llmrec_peft.explanation.explainer import Explainer
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.workflows import pair_files
from llmrec_peft.workflows.pair_files import CsvSource
from llmrec_peft.workflows.predict import predict

SECONDS = 2.0
"""How long threads work against each other."""
FILM = {"year": 1995, "genres": ["Crime"], "description": "A film."}
TEXTS = ["A slow and warm film about a baker.", "Something restless and cold."]


@pytest.fixture(autouse=True)
def _hasty() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def both(tiny_run: Path, tmp_path: Path) -> tuple[Recommender, Path]:
    """Two runs on one base that answer recognizably otherwise, and the folder of the second."""
    other = Path(shutil.copytree(tiny_run, tmp_path / "other"))
    change_tensors(other / "item_vectors.safetensors", lambda tensors: {"text": tensors["text"].flip(0)})
    for name in ("item_matrix.safetensors", "canary.safetensors"):
        (other / name).unlink(missing_ok=True)  # they are of the vectors before
    change_tensors(other / "adapter_model.safetensors", lambda tensors: {n: t * 3 + 0.1 for n, t in tensors.items()})
    recommender = Recommender.from_pretrained(tiny_run)
    recommender.attach(resealed(other), "other")
    return recommender, other


def together(*works: Callable[[threading.Event], Any]) -> list[Any]:
    """Run works in threads of their own until the time is up; return their results, or raise their first error."""
    stop, results, errors = threading.Event(), [None] * len(works), []

    def work(at: int) -> None:
        try:
            results[at] = works[at](stop)
        except BaseException as error:  # noqa: BLE001 - raised in the main thread
            errors.append(error)
            stop.set()

    threads = [threading.Thread(target=work, args=(at,)) for at in range(len(works))]
    for thread in threads:
        thread.start()
    stop.wait(SECONDS)
    stop.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    if errors:
        raise errors[0]
    return results


def switching(recommender: Recommender, *names: str) -> Callable[[threading.Event], None]:
    """Switch between runs until stopped."""

    def work(stop: threading.Event) -> None:
        while not stop.is_set():
            for name in names:
                recommender.switch(name)

    return work


def collecting(ask: Callable[[], Any]) -> Callable[[threading.Event], list[Any]]:
    """Ask until stopped, and return the answers."""

    def work(stop: threading.Event) -> list[Any]:
        found = []
        while not stop.is_set():
            found.append(ask())
        return found

    return work


def expected(recommender: Recommender, names: tuple[str, ...], ask: Callable[[], Any]) -> list[Any]:
    """What each run answers alone."""
    answers = []
    for name in names:
        recommender.switch(name)
        answers.append(ask())
    assert answers[0] != answers[1]
    return answers


def test_no_answer_mixes_two_runs(both: tuple[Recommender, Path]) -> None:
    recommender, _ = both
    names = recommender.adapters
    users, items = recommender.vocabulary.users[:8], recommender.vocabulary.items[:8]

    def score() -> list[float]:
        return list(recommender.score(users, items, chunk=2).tolist())

    def recommend() -> list[Any]:
        return recommender.recommend(users, 3)

    def vectors() -> list[list[float]]:
        return list(recommender.item_vectors().vectors[:3].tolist())

    asks = (score, recommend, vectors)
    alone = {ask: expected(recommender, names, ask) for ask in asks}
    asking = [score] * 4 + [recommend] * 3 + [vectors]
    switches = [switching(recommender, *names), switching(recommender, *reversed(names))]
    answers = together(*map(collecting, asking), *switches)
    for ask, found in zip(asking, answers, strict=False):
        assert found
        assert not [answer for answer in found if answer not in alone[ask]]
    seen = [alone[ask].index(answer) for ask, found in zip(asking, answers, strict=False) for answer in found]
    assert set(seen) == {0, 1}, "both runs answered"


def test_texts_are_encoded_by_the_run_that_was_asked(both: tuple[Recommender, Path]) -> None:
    recommender, _ = both
    names = recommender.adapters

    def encode() -> list[list[float]]:
        return list(recommender.encode(TEXTS).tolist())

    alone = expected(recommender, names, encode)
    answers = together(*[collecting(encode)] * 3, switching(recommender, *names))
    assert sum(map(len, answers[:3])) > 5
    assert not [vectors for found in answers[:3] for vectors in found if vectors not in alone]


def test_runs_come_and_go_while_another_one_answers(both: tuple[Recommender, Path]) -> None:
    recommender, folder = both
    first, users, items = recommender.adapters[0], recommender.vocabulary.users[:8], recommender.vocabulary.items[:8]

    def score() -> list[float]:
        return list(recommender.score(users, items).tolist())

    def encode() -> list[list[float]]:
        return list(recommender.encode(TEXTS).tolist())

    scores, vectors = (expected(recommender, (first, "other"), ask) for ask in (score, encode))

    def coming_and_going(stop: threading.Event) -> int:
        rounds = 0
        while not stop.is_set():
            recommender.switch(first)
            recommender.detach("other")
            recommender.attach(folder, "other")
            recommender.switch("other")
            rounds += 1
        return rounds

    found = together(collecting(score), collecting(score), collecting(encode), coming_and_going)
    assert found[3] >= 1
    assert all(answer in scores for answer in [*found[0], *found[1]])
    assert all(answer in vectors for answer in found[2])
    assert recommender.adapters == (first, "other")


def film(name: str) -> dict[str, Any]:
    """A new film."""
    return {"item_id": name, "title": f"Heat {name}", **FILM}


def test_items_added_by_six_threads_are_all_there(tiny_run: Path) -> None:
    recommender = Recommender.from_pretrained(tiny_run)
    given = [[film(f"n{thread}-{at}") for at in range(12)] for thread in range(6)]
    together(*(lambda _, own=own: [recommender.add_items([one]) for one in own] for own in given))
    catalogue = recommender.catalogue
    assert len(catalogue.ids) == len(set(catalogue.ids)) == 40 + 72
    assert catalogue.vectors is not None
    assert len(catalogue.vectors) == len(catalogue.popularity) == len(catalogue.table_index) == 112
    for own in given:
        for one in own:
            row = catalogue.row_of[one["item_id"]]
            assert catalogue.titles[row] == one["title"]
            assert recommender.score(["1"], [one["item_id"]]).shape == (1,)


def test_one_of_two_threads_adds_an_item_and_the_other_is_refused(tiny_run: Path) -> None:
    recommender = Recommender.from_pretrained(tiny_run)
    recommender.encode(["the base is loaded"])
    ready = threading.Barrier(2)

    def add(_: threading.Event) -> str:
        ready.wait()
        try:
            recommender.add_items([film("other"), film("same")])
        except InputError as error:
            return str(error)
        return "added"

    found = together(add, add)
    assert sorted(found) == ["added", "item 'other' is known already"]
    assert recommender.catalogue.ids[40:] == ("other", "same")


def test_item_refused_leaves_none_of_its_batch(tiny_run: Path) -> None:
    recommender = Recommender.from_pretrained(tiny_run)
    with pytest.raises(InputError, match="item '1' is known already"):
        recommender.add_items([film("new"), film("1")])
    assert len(recommender.catalogue.ids) == 40


def test_items_go_to_the_run_that_was_asked_though_another_answers_meanwhile(both: tuple[Recommender, Path]) -> None:
    recommender, _ = both
    first, other = recommender.adapters
    recommender.switch(first)
    inner, tuned = recommender.tenant, type(recommender.loaded.tuned)
    read = tuned.read_items

    def slowly(self: Any, texts: Any) -> tuple[torch.Tensor, int]:
        recommender.switch(other)
        return read(self, texts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuned, "read_items", slowly)
        recommender.add_items([film("new")])
    assert recommender.current == other
    assert "new" not in recommender.catalogue.row_of
    recommender.switch(first)
    assert "new" in recommender.catalogue.row_of
    assert "new" not in inner.catalogue.row_of, "a snapshot never changes"


def test_snapshot_answers_as_before_though_items_were_added(tiny_run: Path) -> None:
    recommender = Recommender.from_pretrained(tiny_run)
    before = recommender.tenant
    lists = before.recommend(["1"], 100, True)
    recommender.add_items([film("new")])
    assert before.recommend(["1"], 100, True) == lists
    assert len(recommender.recommend(["1"], 100, True)[0].items) == 41


def test_explanations_are_of_the_run_that_answered_when_they_began(both: tuple[Recommender, Path]) -> None:
    recommender, _ = both
    first = recommender.current
    explainer = Explainer(recommender, words="none")
    expected = explainer.explain("1", "3").plain()
    recommender.switch("other")
    assert float(recommender.score(["1"], ["3"])[0]) != pytest.approx(expected["score"], abs=1e-4)
    assert explainer.explain("1", "3").plain() == expected
    pairs = explainer.sample(5)
    recommender.switch(first)
    assert explainer.sample(5) == pairs


def test_file_is_scored_by_one_run_whatever_answers_meanwhile(
    both: tuple[Recommender, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recommender, _ = both
    monkeypatch.setattr(pair_files, "CHUNK_ROWS", 1)
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    lines = ["user_id,item_id,title,year,genres", "1,3,,,", "1,new,Heat,1995,Crime", "1,new,Heat,1995,Crime", "1,3,,,"]
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = CsvSource.__iter__

    def switching(self: CsvSource) -> Iterator[Any]:
        for at, chunk in enumerate(rows(self)):
            recommender.switch(recommender.adapters[at % 2])
            yield chunk

    monkeypatch.setattr(CsvSource, "__iter__", switching)
    predict(recommender, source, target)
    scores = [line.split(",")[-2] for line in target.read_text(encoding="utf-8").splitlines()[1:]]
    assert scores[0] == scores[3]
    assert scores[1] == scores[2]
    recommender.switch(recommender.adapters[0])
    assert recommender.score(["1", "1"], ["3", "new"]).tolist() == pytest.approx([float(scores[0]), float(scores[1])])
    recommender.switch("other")
    assert "new" not in recommender.catalogue.row_of
