"""Reader of TALLRec's movie records: all 10,000 as published, and every record that cannot be one named."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from llmrec_recipes.benchmarks.films import films_table
from llmrec_recipes.benchmarks.tallrec_movie.persons import persons
from llmrec_recipes.benchmarks.tallrec_movie.reader import TallrecMovie

from llmrec_peft.data.dataset import RecDataset, column, without_duplicates
from llmrec_peft.errors import InputError


def window(start: int, likes: float = 1.0) -> list[tuple[str, float]]:
    return [(f"film {number}", likes) for number in range(start, start + 10)]


def test_windows_over_one_persons_ratings_are_one_person() -> None:
    moved = [window(0), window(100), window(1), window(3), window(101)]
    assert persons(moved) == [0, 1, 0, 0, 1], "windows that move by one or two films are linked, one by one"
    assert persons([window(0), window(3)]) == [0, 1], "seven shared films are too few"
    assert persons([window(0), window(0, likes=0.0)]) == [0, 1], "the same films judged otherwise are another person's"
    assert persons([]) == []


def test_the_thousand_test_records_come_from_sixteen_persons(real: RecDataset) -> None:
    pairs = zip(column(real.interactions, "part"), column(real.interactions, "person"), strict=True)
    of_part: dict[str, set[str]] = {}
    for part, person in pairs:
        of_part.setdefault(part, set()).add(person)
    assert {part: len(found) for part, found in of_part.items()} == {"train": 81, "valid": 14, "test": 16}


@pytest.fixture(scope="module")
def published(shared_data: Path) -> Path:
    folder = shared_data / "tallrec-movie"
    if not (folder / "train.json").is_file():
        pytest.skip(f"TALLRec's records are absent: {folder}")
    return folder


@pytest.fixture(scope="module")
def real(published: Path) -> RecDataset:
    return TallrecMovie().read(published, None)


def test_real_records_are_read_whole(real: RecDataset) -> None:
    assert Counter(column(real.interactions, "part")) == {"train": 8000, "valid": 1000, "test": 1000}
    likes = Counter(zip(column(real.interactions, "part"), column(real.interactions, "rating"), strict=True))
    assert (likes["train", 1.0], likes["valid", 1.0], likes["test", 1.0]) == (4457, 658, 528)
    assert set(column(real.interactions, "rating")) == {0.0, 1.0}
    assert (len(real.users), len(real.items)) == (10_000, 1241)
    assert column(real.interactions, "timestamp") == list(range(10_000))
    assert (real.feedback, real.rating_range, real.repeats, real.gives_histories) == ("click", (0, 1), False, True)
    assert real.notes == ("records that ask about a title of their own history (two films can share one): 5",)
    assert without_duplicates(real) is real


def test_real_users_are_the_records(real: RecDataset) -> None:
    users = column(real.interactions, "user_id")
    assert users == column(real.users, "user_id")
    assert (users[0], users[17], users[8000], users[9999]) == ("train-0", "train-17", "valid-0", "test-999")


def test_real_histories_hold_ten_films_the_liked_ones_first(real: RecDataset) -> None:
    histories = column(real.interactions, "history")
    ratings = column(real.interactions, "history_rating")
    assert {len(history) for history in histories} == {10}
    assert [len(history) for history in histories] == [len(labels) for labels in ratings]
    assert all(labels == sorted(labels, reverse=True) for labels in ratings)
    parts = column(real.interactions, "part")
    without = Counter((part, labels[0]) for part, labels in zip(parts, ratings, strict=True) if len(set(labels)) == 1)
    assert without["train", 0.0] == 241
    assert without["train", 1.0] == 486
    assert (without["test", 0.0], without["test", 1.0]) == (60, 62)


def test_every_real_title_is_one_that_the_publisher_wrote(real: RecDataset, published: Path) -> None:
    ids = column(real.items, "item_id")
    assert all(re.search(r"\((19|20)\d\d\)( \(V\))?$", title) for title in ids)
    assert not [title for title in ids if '"' in title]
    assert sum(", " in title for title in ids) == 291
    met = set(column(real.interactions, "item_id")).union(*column(real.interactions, "history"))
    assert set(ids) == met
    rebuilt = [_asked(*row) for row in _rows(real)]
    texts = [
        json.loads((published / f"{part}.json").read_text(encoding="utf-8")) for part in ("train", "valid", "test")
    ]
    assert rebuilt == [record["input"] for part in texts for record in part]


def _rows(data: RecDataset) -> list[tuple[list[str], list[float], str]]:
    names = ("history", "history_rating", "item_id")
    return list(zip(*(column(data.interactions, name) for name in names), strict=True))


def _asked(history: list[str], ratings: list[float], target: str) -> str:
    """The publisher's wording of a record."""
    liked = [title for title, rating in zip(history, ratings, strict=True) if rating == 1.0]
    return wording(liked, history[len(liked) :], target)


def wording(liked: list[str], disliked: list[str], target: str) -> str:
    quoted = [", ".join(f'"{title}"' for title in titles) for titles in (liked, disliked)]
    return (
        f"User Preference: {quoted[0]}\nUser Unpreference: {quoted[1]}\n"
        f'Whether the user will like the target movie "{target}"?'
    )


def test_titles_read_as_people_say_them(real: RecDataset) -> None:
    items = {row["item_id"]: row for row in real.items}
    assert items["Clockwork Orange, A (1971)"] == {
        "item_id": "Clockwork Orange, A (1971)",
        "title": "A Clockwork Orange",
        "year": 1971,
    }
    assert None not in column(real.items, "year")
    assert films_table(["Alien³", "Heat (1995)"], ["8", "9"])[:] == {
        "item_id": ["8", "9"],
        "title": ["Alien³", "Heat"],
        "year": [None, 1995],
    }


def record(text: str, output: str = "Yes.") -> dict[str, Any]:
    return {"instruction": "Answer.", "input": text, "output": output}


GOOD = record(wording(["Heat (1995)"], ["Alien (1979)"], "Sting, The (1973)"))


def folder_of(path: Path, **parts: list[Any]) -> Path:
    for part in ("train", "valid", "test"):
        (path / f"{part}.json").write_text(json.dumps(parts.get(part, [GOOD])), encoding="utf-8")
    return path


def test_titles_may_hold_commas_quotes_and_accents_and_lists_may_be_empty(tmp_path: Path) -> None:
    odd = ['Dr. "Q", or: Love (1964)', "Cité, La (1995)", '"Crocodile" Dundee (1986)']
    texts = [record(wording(odd, [], odd[0])), record(wording([], odd, 'He said "No" (1990)'), "No.")]
    texts.append(record(wording([], [], "Heat (1995)").replace(": \n", ":\n")))
    data = TallrecMovie().read(folder_of(tmp_path, train=texts), None)
    assert column(data.interactions, "history")[:3] == [odd, odd, []]
    assert column(data.interactions, "history_rating")[:3] == [[1.0] * 3, [0.0] * 3, []]
    assert column(data.interactions, "item_id")[:3] == [odd[0], 'He said "No" (1990)', "Heat (1995)"]
    assert column(data.interactions, "rating")[:3] == [1.0, 0.0, 1.0]
    assert data.notes == ("records that ask about a title of their own history (two films can share one): 1",)
    assert column(data.items, "title")[1] == "La Cité"


def edited(change: Callable[[str], str]) -> dict[str, Any]:
    return record(change(GOOD["input"]))


LIKE_LIKED = 'where a line like: User Preference: "Heat (1995)", "Alien (1979)" belongs'


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"instruction": "x", "output": "Yes."}, "no field 'input'"),
        ({"instruction": "x", "input": GOOD["input"]}, "no field 'output'"),
        (record(GOOD["input"], "Maybe"), 'output \'Maybe\' where "Yes." or "No." belongs'),
        (record(GOOD["input"], "Yes"), 'output \'Yes\' where "Yes." or "No." belongs'),
        ({**GOOD, "output": 1}, "output 1 where a text belongs"),
        ({**GOOD, "input": "\ud800"}, "input '\\ud800' where valid Unicode belongs"),
        (edited(lambda text: text.split("\n")[0]), "where three lines (User Preference: … / User Unpreference: …"),
        (edited(lambda text: text + "\nmore"), "where three lines"),
        (edited(lambda text: text.replace("User Pref", "user pref")), LIKE_LIKED),
        (edited(lambda text: text.replace('"Heat (1995)"', "Heat (1995)")), LIKE_LIKED),
        (edited(lambda text: text.replace('"Heat (1995)"', '"Heat (1995)')), LIKE_LIKED),
        (edited(lambda text: text.replace('"Heat (1995)"', '"')), LIKE_LIKED),
        (edited(lambda text: text.replace('"Heat (1995)"', '"A", ""')), LIKE_LIKED),
        (edited(lambda text: text.replace('"Heat (1995)"', '"A" "B"')), 'input \'User Preference: "A" "B"\' where'),
        (edited(lambda text: text.replace('"Heat (1995)"', '"A","B"')), LIKE_LIKED),
        (edited(lambda text: text.replace('"Alien (1979)"', "none")), 'a line like: User Unpreference: "Heat'),
        (edited(lambda text: text.replace("target movie", "target book")), "a third line like: Whether the user will"),
        (
            edited(lambda text: text.replace('"Sting, The (1973)"', '""')),
            "input 'Whether the user will like the target movie \"\"?' where",
        ),
        ("text", "'text' where an object with named fields belongs"),
    ],
)
def test_broken_record_is_named_with_its_file(tmp_path: Path, broken: Any, words: str) -> None:
    folder_of(tmp_path, valid=[GOOD, GOOD, broken])
    with pytest.raises(InputError) as caught:
        TallrecMovie().read(tmp_path, None)
    assert str(caught.value).startswith(f"{tmp_path / 'valid.json'}, record 2: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["train.json", "valid.json", "test.json"])
def test_missing_and_empty_files_are_named(tmp_path: Path, name: str) -> None:
    path = folder_of(tmp_path) / name
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(InputError, match=f"{name}: the array holds no record"):
        TallrecMovie().read(tmp_path, None)
    path.write_bytes(b"")
    with pytest.raises(InputError, match=f"{name}: the file is empty"):
        TallrecMovie().read(tmp_path, None)
    path.unlink()
    with pytest.raises(InputError, match=rf"no file {name} \(the folder holds "):
        TallrecMovie().read(tmp_path, None)


def test_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.graph: nothing links the items of TALLRec's movies"):
        TallrecMovie().read(folder_of(tmp_path), tmp_path)
