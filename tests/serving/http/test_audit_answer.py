"""`llmrec audit-answer`: what lies in a server's state folder says whether an answer is its own."""

from __future__ import annotations

import copy
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tiered_engines import FILM, USERS

from llmrec_peft.cli.main import main
from llmrec_peft.serving.engine import Engine
from llmrec_peft.serving.http.registry.registry import FILE, Registry

SHOP = "shop"
MANY_USERS = [str(number) for number in range(1, 41)]  # a trial has some of them, whatever its digest is
Said = dict[str, Any]


def recommended(engine: Engine, users: list[str]) -> Said:
    """What /v1/recommend answers."""
    lists = []
    for one in engine.ask(SHOP, users, k=50, seen=True):
        items = [{"item_id": item.item_id, "title": item.title, "score": item.score} for item in one.items]
        lists.append({**one.identity._asdict(), "user_id": one.user_id, "basis": one.basis, "items": items})
    return {"tenant": SHOP, "k": 50, "seen": True, "answers": lists}


def scored(engine: Engine, users: list[str], items: list[str]) -> Said:
    """What /v1/score answers."""
    found = engine.score(SHOP, users, items)
    pairs = zip(found.users, found.items, found.values.tolist(), found.identities, found.basis, strict=True)
    return {
        "tenant": SHOP,
        "scores": [
            {"user_id": user, "item_id": item, "score": score, **identity._asdict(), "basis": basis}
            for user, item, score, identity, basis in pairs
        ],
    }


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory, rivals: list[Path]) -> Iterator[tuple[Path, dict[str, Said]]]:
    """A server's state folder, and what it answered in several states; it goes on."""
    state = tmp_path_factory.mktemp("audited") / "state"
    said = {}
    with Engine(state / "store", device="cpu") as engine, Registry(state / FILE, engine.store) as registry:
        engine._tenants._journal = registry
        engine.register(SHOP, rivals[0])
        engine.register("other", rivals[1])
        said["first"] = recommended(engine, [*USERS, "nobody"])
        engine.add_items(SHOP, [FILM])
        said["with an item"] = recommended(engine, USERS)
        engine.swap(SHOP, rivals[2], share=0.5)
        said["on trial"] = recommended(engine, MANY_USERS)
        assert len({one["version"] for one in said["on trial"]["answers"]}) == 2
        said["scores"] = scored(engine, [*USERS, "nobody"], ["1", "new", "3", "4", "5", "new", "7", "8", "9"])
        engine.weight(SHOP, engine.standing(SHOP).trial.version, 1.0)  # type: ignore[union-attr]
        engine.swap(SHOP, rivals[1], keep_items=False)
        yield state, said


def audited(
    state: Path, said: Said | str, tmp_path: Path, capsys: pytest.CaptureFixture[str], *more: str
) -> tuple[int, Any, str]:
    """Exit code, what is printed, and the errors."""
    file = tmp_path / "answer.json"
    file.write_text(said if isinstance(said, str) else json.dumps(said), encoding="utf-8")
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["audit-answer", str(file), "--state", str(state), "--json", *more])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), json.loads(out) if out else None, err


@pytest.mark.parametrize("kind", ["first", "with an item", "on trial", "scores"])
def test_answers_of_versions_that_were_left_are_found_to_be_the_same(
    kind: str, answers: tuple[Path, dict[str, Said]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, said = answers
    code, found, err = audited(state, said[kind], tmp_path, capsys)
    assert (code, err) == (0, "")
    assert found["same"]
    assert all(one["difference"] <= 2e-4 for one in found["answers"])
    assert len(found["answers"]) == (2 if kind == "scores" else len(said[kind]["answers"]))


def change_score(said: Said) -> None:
    said["answers"][2]["items"][5]["score"] += 0.001


def change_item(said: Said) -> None:
    said["answers"][2]["items"][0]["item_id"] = "40"


def change_order(said: Said) -> None:
    items = said["answers"][2]["items"]
    items[0], items[30] = items[30], items[0]


def change_user(said: Said) -> None:
    said["answers"][2]["user_id"] = "nobody"


def change_tenant(said: Said) -> None:
    said["tenant"] = "other"


def change_state(said: Said) -> None:
    said["answers"][2]["state_digest"] = "0" * 64


def change_version(said: Said) -> None:
    said["answers"][2]["version"] = "0" * 64


CHANGES: list[Callable[[Said], None]] = [
    change_score,
    change_item,
    change_order,
    change_user,
    change_tenant,
    change_state,
    change_version,
]


@pytest.mark.parametrize("change", CHANGES)
def test_answer_that_was_changed_is_found_out_with_its_reason(
    change: Callable[[Said], None],
    answers: tuple[Path, dict[str, Said]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    state, all_said = answers
    said = copy.deepcopy(all_said["with an item"])
    change(said)
    code, found, _ = audited(state, said, tmp_path, capsys)
    assert code == 1
    wrong = [at for at, one in enumerate(found["answers"]) if not one["same"]]
    assert wrong == (list(range(len(USERS))) if change is change_tenant else [2])
    assert found["answers"][2]["reason"]


def test_score_that_was_changed_is_found_out(
    answers: tuple[Path, dict[str, Said]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, all_said = answers
    said = copy.deepcopy(all_said["scores"])
    said["scores"][1]["score"] += 0.01
    code, found, _ = audited(state, said, tmp_path, capsys)
    assert code == 1
    assert sorted(one["same"] for one in found["answers"]) == [False, True]


WRONG: dict[str, tuple[Callable[[Said], object], str]] = {
    "no JSON": (lambda said: "{", "no JSON that is read here"),
    "a list": (lambda said: [], "has neither answers"),
    "no answers": (lambda said: {**said, "answers": []}, "has neither answers"),
    "another field": (lambda said: {**said, "more": 1}, "answer.json: 5 fields, where there are 4"),
    "a text for a number": (lambda said: {**said, "k": "50"}, "k: Input should be a valid integer"),
    "no number of items": (lambda said: {**said, "k": -1}, "-1"),
    "an unknown tenant": (lambda said: {**said, "tenant": "nobody"}, "tenant 'nobody': is not registered"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_file_that_is_no_answer_is_an_error_in_one_line(
    kind: str, answers: tuple[Path, dict[str, Said]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, said = answers
    make, reason = WRONG[kind]
    made = make(said["first"])
    code, found, err = audited(state, made if isinstance(made, str) else json.dumps(made), tmp_path, capsys)
    assert (code, found) == (2, None)
    assert reason in err
    assert len(err.splitlines()) == 1


def test_folder_that_is_no_state_folder_is_an_error_and_stays_empty(
    answers: tuple[Path, dict[str, Said]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = audited(tmp_path / "empty", answers[1]["first"], tmp_path, capsys)
    assert code == 2
    assert "no state folder of a server" in err
    assert list((tmp_path / "empty").iterdir()) == []


def test_table_says_how_many_are_the_same(
    answers: tuple[Path, dict[str, Said]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, said = answers
    file = tmp_path / "answer.json"
    file.write_text(json.dumps(said["first"]), encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["audit-answer", str(file), "--state", str(state)])
    assert ended.value.code == 0
    assert "9 of 9 are what their versions give" in capsys.readouterr().out


def test_registry_is_read_while_somebody_writes(
    answers: tuple[Path, dict[str, Said]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, said = answers
    other = sqlite3.connect(state / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    code, _, _ = audited(state, said["first"], tmp_path, capsys)
    other.execute("ROLLBACK")
    other.close()
    assert code == 0
