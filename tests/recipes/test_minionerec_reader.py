"""Reader of MiniOneRec's splits: the published files as they are, nothing of test in training, every broken line."""

from __future__ import annotations

import gzip
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from llmrec_recipes.minionerec.reader import MiniOneRec, MiniOneRecOptions

from llmrec_peft.data.dataset import RecDataset, column
from llmrec_peft.data.soundness import sound
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.recipe import load_recipe
from llmrec_peft.signals.parts.sequence_counts import StepCounts

INDUSTRIAL, OFFICE = "Industrial_and_Scientific", "Office_Products"
HEADER = "user_id,history_item_title,item_title,history_item_id,item_id,history_item_sid,item_sid"
ROWS = {
    "valid": ['A1,"[\'a\']",b,"[0]",1,x,y', "A2,x,y,[3],0,x,y", 'A1,x,y,"[0, 1]",2,x,y'],
    "test": ['A2,x,y,"[3, 0]",1,x,y', 'A9,x,y,"[2, 1]",4,x,y'],
}
ITEMS = {str(at): {"title": f"Pen &amp; ink {at}", "description": "['x']", "brand": "Orvex"} for at in range(4)}
CODES = {str(at): [f"<a_{at}>", "<b_7>"] for at in range(4)}
Broken = Callable[..., Path]


def opened(category: str | None = None) -> MiniOneRec:
    return MiniOneRec.opened(MiniOneRecOptions(category=category))


@pytest.fixture
def folder(tmp_path: Path) -> Broken:
    """Write the files of a category, some of them changed."""

    def write(category: str = "Toys", items: Any = ITEMS, codes: Any = CODES, **rows: list[str]) -> Path:
        for part, lines in {**ROWS, **rows}.items():
            text = "".join(f"{line}\n" for line in [HEADER, *lines])
            (tmp_path / f"{category}.{part}.csv.gz").write_bytes(gzip.compress(text.encode()))
        for kind, values in (("item", items), ("index", codes)):
            content = values if isinstance(values, bytes) else json.dumps(values, indent=1).encode()
            (tmp_path / f"{category}.{kind}.json.gz").write_bytes(gzip.compress(content))
        return tmp_path

    return write


def events(data: RecDataset) -> list[tuple[Any, ...]]:
    names = ("user_id", "item_id", "timestamp", "part", "history")
    return list(zip(*(column(data.interactions, name) for name in names), strict=True))


def test_a_small_folder_is_read_as_it_stands(folder: Broken) -> None:
    data = opened().read(folder(), None)
    assert sorted(events(data)) == sorted(
        [
            ("A1", "0", 1, "train", []),
            ("A2", "3", 1, "train", []),
            ("A1", "1", 2, "valid", ["0"]),
            ("A2", "0", 3, "valid", ["3"]),
            ("A1", "2", 4, "valid", ["0", "1"]),
            ("A2", "1", 5, "test", ["3", "0"]),
            ("A9", "4", 6, "test", ["2", "1"]),
        ]
    )
    assert data.items[0] == {"item_id": "0", "title": "Pen & ink 0", "brand": "Orvex", "codes": "a0 b7"}
    assert data.items[4] == {"item_id": "4", "title": "", "brand": None, "codes": None}
    assert data.notes[1:] == ("items that item.json lacks, known by their id alone: 1",)
    assert data.name == "MiniOneRec Toys"
    assert sound(data) is data


def test_rows_that_do_not_go_on_from_the_users_row_before_teach_nothing_and_are_noted(folder: Broken) -> None:
    rows = [*ROWS["valid"], 'A2,x,y,"[2, 2]",3,x,y']
    data = opened().read(folder(valid=rows), None)
    assert [event for event in events(data) if event[0] == "A2" and event[3] == "train"] == [
        ("A2", "3", 1, "train", [])
    ]
    assert "valid rows whose history does not go on from the user's row before: 1" in data.notes


def test_nothing_of_a_test_row_is_counted_in_training(folder: Broken) -> None:
    rows = ['A9,x,y,"[2, 1]",3,x,y', 'A1,x,y,"[3, 3]",3,x,y']
    plain = opened().read(folder(), None)
    other = opened().read(folder(test=rows), None)
    learnt = [[event[:2] for event in events(data) if event[3] in ("train", "valid")] for data in (plain, other)]
    assert learnt[0] == learnt[1]
    assert not [event for event in events(other) if event[0] == "A9" and event[3] == "train"]


@pytest.fixture(scope="module")
def published(shared_data: Path) -> Path:
    path = shared_data / "minionerec"
    if not (path / f"{OFFICE}.valid.csv.gz").is_file():
        pytest.skip(f"MiniOneRec's splits are absent: {path}")
    return path


@pytest.mark.parametrize(
    ("category", "items", "parts"),
    [
        (INDUSTRIAL, 3686, {"train": 8435, "valid": 4532, "test": 4533}),
        (OFFICE, 3459, {"train": 6780, "valid": 4866, "test": 4866}),
    ],
)
def test_the_published_files_are_read_whole(published: Path, category: str, items: int, parts: dict[str, int]) -> None:
    data = opened(category).read(published, None)
    assert Counter(column(data.interactions, "part")) == parts
    assert (len(data.items), len(data.notes)) == (items, 1)
    assert max(map(len, column(data.interactions, "history"))) == 10
    titles = column(data.items, "title")
    assert not [title for title in titles if "&amp;" in title or "&quot;" in title]
    assert sound(data) is data
    demo = MiniOneRec().demo(1)
    assert (data.interactions.features, data.items.features) == (demo.interactions.features, demo.items.features)


def learnt_pairs(folder: Path) -> dict[tuple[str, str, int], float]:
    """Return what the final model of the recipe counts: item, other item, step."""
    recipe = load_recipe("minionerec").changed({"data.path": str(folder), "data.options.category": OFFICE})
    prepared = prepare(recipe, opened(OFFICE).read(folder, None))
    counts = StepCounts.of(prepared.protocol.learned, prepared.vocabulary.num_items, 5)
    names = ["", *prepared.vocabulary.items]
    pairs = zip(counts.item.tolist(), counts.other.tolist(), counts.step.tolist(), strict=True)
    return {
        (names[item], names[other], step): count
        for (item, other, step), count in zip(pairs, counts.count.tolist(), strict=True)
    }


def test_what_is_counted_of_the_published_files_does_not_depend_on_any_test_row(
    published: Path, tmp_path: Path
) -> None:
    for name in ("valid.csv", "item.json", "index.json"):
        shutil.copyfile(published / f"{OFFICE}.{name}.gz", tmp_path / f"{OFFICE}.{name}.gz")
    rows = [f'nobody{at},x,y,"[{at}, {at + 1}]",{at + 2},x,y\n' for at in range(50)]
    (tmp_path / f"{OFFICE}.test.csv").write_text(f"{HEADER}\n{''.join(rows)}", encoding="utf-8")
    whole = learnt_pairs(published)
    assert learnt_pairs(tmp_path) == whole
    assert len(whole) > 50_000


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"valid": ["A1,x,y,[0],1,x"]}, r"Toys\.valid\.csv\.gz, line 2: 6 fields where 7 belong"),
        ({"valid": ["A1,x,y,[0],b,x,y"]}, r"Toys\.valid\.csv\.gz, line 2: item_id 'b' is no whole number"),
        ({"valid": [" ,x,y,[0],1,x,y"]}, "line 2: user_id is empty"),
        ({"test": ["A1,x,y,[0,1,x,y"]}, "line 2: 8 fields|history_item_id"),
        ({"test": ['A1,x,y,"[0, ",1,x,y']}, r"Toys\.test\.csv\.gz, line 2: history_item_id '\[0, ' where a list"),
        ({"test": ["A1,x,y,\"[0, '1']\",1,x,y"]}, "history_item_id .* where a list of ids"),
        ({"test": ["A1,x,y,__import__('os'),1,x,y"]}, "history_item_id .* where a list of ids"),
        ({"test": ['A1,x,y,"[0, true]",1,x,y']}, "history_item_id"),
        ({"test": ['A1,x,y,"[0, -1]",1,x,y']}, "history_item_id"),
        ({"test": []}, "has no rows to learn from, to validate on, and to test on"),
        ({"items": [1]}, r"Toys\.item\.json\.gz: a list of 1 where an object with named fields belongs"),
        ({"items": {"x": {}}}, r"Toys\.item\.json\.gz: 'x' where an item's id, a whole number, belongs"),
        ({"items": {"0": 3}}, "item 0: no object with title, description, brand and categories"),
        ({"items": {"0": {"title": 3}}}, "item 0: title 3 where a text belongs"),
        ({"items": b"{"}, r"Toys\.item\.json\.gz: no JSON"),
        ({"codes": {"0": [1]}}, r"Toys\.index\.json\.gz, item 0: 0 a list of 1 where a text belongs"),
    ],
)
def test_what_is_wrong_is_named(folder: Broken, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        opened().read(folder(**changed), None)
    assert "\n" not in str(error.value)


def test_other_columns_and_damaged_files_are_named(folder: Broken) -> None:
    path = folder()
    file = path / "Toys.valid.csv.gz"
    file.write_bytes(gzip.compress(b"user,item\nA1,2\n"))
    with pytest.raises(InputError, match=r"valid\.csv\.gz, line 1: 'user,item' where 'user_id,history_item_title"):
        opened().read(path, None)
    file.write_bytes(b"not gzip at all")
    with pytest.raises(InputError, match="damaged or no gzip file"):
        opened().read(path, None)
    file.unlink()
    with pytest.raises(InputError, match=r"no file Toys\.valid\.csv\.gz"):
        opened().read(path, None)


def test_a_folder_of_several_categories_asks_which(folder: Broken) -> None:
    folder("Toys")
    path = folder("Games", valid=["A1,x,y,[3],1,x,y"])
    with pytest.raises(InputError, match=r"data\.options\.category: .* has 'Games', 'Toys': name one of them"):
        opened().read(path, None)
    with pytest.raises(InputError, match=r"has 'Games', 'Toys', not 'Books'"):
        opened("Books").read(path, None)
    assert opened("Games").read(path, None).name == "MiniOneRec Games"


def test_a_folder_without_files_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file CATEGORY\.valid\.csv\.gz"):
        opened().read(tmp_path, None)
    with pytest.raises(InputError, match="no data folder"):
        opened().read(tmp_path / "nowhere", None)


def test_files_may_be_unpacked(folder: Broken) -> None:
    path = folder()
    packed = path / "Toys.test.csv.gz"
    (path / "Toys.test.csv").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    assert Counter(column(opened().read(path, None).interactions, "part"))["test"] == 2
