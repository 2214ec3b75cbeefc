"""Reader of TALLRec's book records: the published wording, titles and authors with marks of quotation in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llmrec_recipes.benchmarks.tallrec_movie.books import asked_book, books_table, listed_books
from llmrec_recipes.benchmarks.tallrec_movie.reader import TallrecBook

from llmrec_peft.data.dataset import column
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.recipe import load_recipe

KIM, EMMA = '"Kim" written by Rudyard Kipling', '"Emma" written by Jane Austen'
TRICKY = '"Yes, "Sir", Said \\Anna\\" &amp; Co."" written by Jules, Albert'


def record(liked: list[str], disliked: list[str], target: str, output: str = "Yes.") -> dict[str, Any]:
    text = (
        f"User Preference: {', '.join(liked)}\nUser Unpreference: {', '.join(disliked)}\n"
        f'Whether the user will like the target book "{target}"?'
    )
    return {"instruction": "Answer.", "input": text, "output": output}


def folder_of(path: Path, **parts: list[Any]) -> Path:
    for part in ("train", "valid", "test"):
        records = parts.get(part, [record([KIM], [EMMA], TRICKY), record([EMMA], [], KIM, "No.")])
        (path / f"{part}.json").write_text(json.dumps(records), encoding="utf-8")
    return path


def test_records_are_read_whole(tmp_path: Path) -> None:
    train = [record([KIM, TRICKY], [EMMA], '"Ulysses" written by James Joyce'), record([], [TRICKY], EMMA, "No.")]
    data = TallrecBook().read(folder_of(tmp_path, train=train), None)
    assert column(data.interactions, "history")[:2] == [[KIM, TRICKY, EMMA], [TRICKY]]
    assert column(data.interactions, "history_rating")[:2] == [[1.0, 1.0, 0.0], [0.0]]
    assert column(data.interactions, "rating")[:2] == [1.0, 0.0]
    assert data.items[:] == {
        "item_id": [KIM, TRICKY, EMMA, '"Ulysses" written by James Joyce'],
        "title": ["Kim", "Yes, Sir, Said Anna & Co.", "Emma", "Ulysses"],
        "author": ["Rudyard Kipling", "Jules, Albert", "Jane Austen", "James Joyce"],
    }
    assert (data.name, data.feedback, data.notes) == ("TALLRec book", "click", ())
    assert "person" not in data.interactions.column_names, "a record is all that is known of its user"


@pytest.mark.parametrize(
    ("text", "books"),
    [
        (f"{KIM}, {EMMA}", [KIM, EMMA]),
        (f"{TRICKY}, {KIM}", [TRICKY, KIM]),
        (f'"A, "B", "C" written by D, {KIM}', ['"A, "B", "C" written by D', KIM]),
        ('"The Book written by Nobody" written by Somebody', ['"The Book written by Nobody" written by Somebody']),
        ('"Kim" by Rudyard Kipling', None),
        ('"Kim" written by ', None),
        ('"" written by Rudyard Kipling', None),
        ("Kim written by Rudyard Kipling", None),
        (f"{KIM}, Emma", [f"{KIM}, Emma"]),
    ],
)
def test_lists_are_parted_between_books_and_not_inside_of_titles(text: str, books: list[str] | None) -> None:
    assert listed_books(text) == books


def test_the_book_asked_about_may_be_written_as_the_published_script_does() -> None:
    for text in (f'"{KIM}"', KIM, '"Kim"written byRudyard Kipling'):
        assert asked_book(text) == KIM
    assert asked_book('"Kim"') is None
    assert books_table([KIM])[0] == {"item_id": KIM, "title": "Kim", "author": "Rudyard Kipling"}


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (record([KIM], [], '"Kim"'), 'a third line like: Whether the user will like the target book ""Kim" written by'),
        ({**record([], [], KIM), "input": record([], [], KIM)["input"].replace("book", "movie")}, "a third line like"),
        (record(['"Kim" by Kipling'], [], KIM), 'a line like: User Preference: "Kim" written by Rudyard Kipling, "Em'),
        (record([], ["Kim"], KIM), "a line like: User Unpreference: "),
        (record([KIM], [], EMMA, "Maybe"), 'output \'Maybe\' where "Yes." or "No." belongs'),
        ({"instruction": "x", "output": "Yes."}, "no field 'input'"),
    ],
)
def test_broken_record_is_named_with_its_file(tmp_path: Path, broken: Any, words: str) -> None:
    folder_of(tmp_path, valid=[record([], [KIM], EMMA), broken])
    with pytest.raises(InputError) as caught:
        TallrecBook().read(tmp_path, None)
    assert str(caught.value).startswith(f"{tmp_path / 'valid.json'}, record 1: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_training_file_and_a_graph_are_refused(tmp_path: Path) -> None:
    folder_of(tmp_path)
    with pytest.raises(InputError, match=r"data\.graph: nothing links the items of TALLRec's books"):
        TallrecBook().read(tmp_path, tmp_path)
    (tmp_path / "train.json").unlink()
    with pytest.raises(InputError, match=r"no file train\.json"):
        TallrecBook().read(tmp_path, None)


def test_nothing_of_the_test_part_reaches_training(tmp_path: Path) -> None:
    test = [record([KIM], [EMMA], TRICKY), record([EMMA], [KIM], TRICKY, "No."), record([TRICKY], [], EMMA)]
    train = [*test[:2], record([KIM, TRICKY], [EMMA], '"Ulysses" written by James Joyce', "No.")]
    changed = [{**one, "output": {"Yes.": "No.", "No.": "Yes."}[one["output"]]} for one in test]
    overrides = ["data.allow_leakage=true"]
    found = []
    for records in (test, changed):
        folder_of(tmp_path, train=train, valid=train, test=records)
        prepared = prepare(load_recipe("tallrec-book", overrides, {"data.path": str(tmp_path)}))
        learnt = prepared.interactions.take(prepared.split.train)
        found.append((learnt.user, learnt.item, learnt.label, prepared.texts))
    assert found[0][3] == found[1][3]
    for one, other in zip(found[0][:3], found[1][:3], strict=True):
        assert np.array_equal(one, other)
