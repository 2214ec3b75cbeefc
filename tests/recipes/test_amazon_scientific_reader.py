"""Reader of IISAN's sequences: the published files as they are, and every broken line named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from llmrec_recipes.benchmarks.amazon_scientific.reader import AmazonScientific

from llmrec_peft.data.dataset import RecDataset, column, without_duplicates
from llmrec_peft.errors import InputError

USERS, ITEMS = "am_Industrial_and_Scientific_users.tsv", "Industrial_and_Scientific_items.tsv"


@pytest.fixture(scope="module")
def real(shared_data: Path) -> RecDataset:
    folder = shared_data / "iisan-scientific"
    if not (folder / USERS).is_file():
        pytest.skip(f"IISAN's sequences are absent: {folder}")
    return AmazonScientific().read(folder, None)


def test_real_sequences_are_read_whole(real: RecDataset) -> None:
    assert Counter(column(real.interactions, "part")) == {"train": 61_059, "valid": 12_076, "test": 12_076}
    assert (len(real.users), len(real.items), len(real.interactions)) == (12_076, 20_825, 85_211)
    assert set(column(real.interactions, "rating")) == {1.0}
    assert set(column(real.interactions, "item_id")) == set(column(real.items, "item_id"))
    assert (real.feedback, real.rating_range, real.repeats, real.gives_histories) == ("implicit", (0, 1), True, False)
    assert real.name == "Amazon Industrial and Scientific sequences"
    assert real.notes == ("titles that are pieces of a web page and name no product, left empty: 91",)
    assert without_duplicates(real) is real, "people buy things again"


def test_real_sequences_end_with_validation_and_test(real: RecDataset) -> None:
    sequences: dict[str, list[tuple[int, str, str]]] = {}
    names = ("user_id", "timestamp", "item_id", "part")
    for user, *event in zip(*(column(real.interactions, name) for name in names), strict=True):
        sequences.setdefault(user, []).append((event[0], event[1], event[2]))
    lengths = Counter(len(sequence) for sequence in sequences.values())
    assert (lengths[5], lengths[6], lengths[7], min(lengths), max(lengths)) == (4892, 2652, 1465, 5, 79)
    for sequence in sequences.values():
        assert [event[0] for event in sequence] == list(range(len(sequence)))
        assert [event[2] for event in sequence] == ["train"] * (len(sequence) - 2) + ["valid", "test"]
    first = [item for _, item, _ in sequences["A0096681Y127OL1H8W3U"]]
    assert first == "B0098MLBAO B0098MLBAO B00E8JOCOE B00S730YWG B0098MLBAO".split()


def test_real_titles_are_plain_text(real: RecDataset) -> None:
    titles = dict(zip(column(real.items, "item_id"), column(real.items, "title"), strict=True))
    assert sum(not title for title in titles.values()) == 91
    assert not [title for title in titles.values() if "&quot;" in title or "&amp;" in title or "/>" in title]
    assert titles["B0065VCXSA"].startswith("3M Super 77 Spray Adhesive Low VOC< 25% Clear")
    assert titles["B008RECJ46"] == 'Knape & Vogt 208WH400 16" White Heavy Duty Shelf Brackets'
    assert titles["B001G5TZCM"].endswith("6-Inch, 33 TPI,SnapOn,1-230-06-1-2"), "cut out of a page, but a title"
    assert titles["B002GPLDXA"] == "", "cut out of a page: the shop's name alone was left"
    assert titles["B0017CXF6G"].startswith('3M 90128-00001, 18" Professional')


def folder_of(path: Path, users: str, items: str, users_name: str = USERS, items_name: str = ITEMS) -> Path:
    (path / users_name).write_text(users, encoding="utf-8")
    (path / items_name).write_text(items, encoding="utf-8")
    return path


ITEMS_TEXT = "B1\tSoldering Iron\nB2\tSolder, 1&quot; &amp; more\nB3\tPump\n"
USERS_TEXT = "A1\tB1 B2 B1 B3\nA2\tB3 B2 B1\n"


def test_small_folder_is_read_as_it_stands(tmp_path: Path) -> None:
    data = AmazonScientific().read(folder_of(tmp_path, USERS_TEXT, ITEMS_TEXT), None)
    assert column(data.interactions, "item_id") == "B1 B2 B1 B3 B3 B2 B1".split()
    assert column(data.interactions, "timestamp") == [0, 1, 2, 3, 0, 1, 2]
    assert column(data.interactions, "part") == "train train valid test train valid test".split()
    assert column(data.items, "title") == ["Soldering Iron", 'Solder, 1" & more', "Pump"]
    assert data.notes == ()


def test_other_categories_of_the_publisher_are_found_by_their_names(tmp_path: Path) -> None:
    names = ("am_Musical_Instruments_users_10K.tsv", "Musical_Instruments_items.tsv")
    data = AmazonScientific().read(folder_of(tmp_path, USERS_TEXT, ITEMS_TEXT, *names), None)
    assert data.name == "Amazon Musical Instruments sequences"
    assert len(data.users) == 2


def test_short_sequences_train_and_are_noted(tmp_path: Path) -> None:
    data = AmazonScientific().read(folder_of(tmp_path, USERS_TEXT + "A3\tB1 B2\nA4\tB2\n", ITEMS_TEXT), None)
    assert column(data.interactions, "part")[-3:] == ["train"] * 3
    assert data.notes == ("sequences shorter than 3, all of which is training: 2",)


def test_items_without_a_title_are_kept_and_noted(tmp_path: Path) -> None:
    data = AmazonScientific().read(folder_of(tmp_path, "A1\tB9 B1 B8 B9\n", "B1\tIron\nB2\t\n"), None)
    assert data.items[:] == {"item_id": ["B1", "B2", "B9", "B8"], "title": ["Iron", "", "", ""]}
    assert data.notes == ("items of sequences without a line in the titles, known by their id alone: 2",)


@pytest.mark.parametrize(
    ("published", "title"),
    [
        ("&Oslash; 5 &frac12;&quot; &ndash; tube &lt; 3&deg;", 'Ø 5 ½" – tube < 3°'),
        (' "Quoted" inside, and more ', '"Quoted" inside, and more'),
        ('"Zildjian K 20"" Dark Ride"', 'Zildjian K 20" Dark Ride'),
        ('"5"', "5"),
        ('"half', '"half'),
        ('" Industrial &amp; Scientific"" />"', ""),
        (' Magazines" />', ""),
        ('"Round File, 6&quot;"" />"', 'Round File, 6"'),
        ('<span class="a-size-medium a-color-secondary"', ""),
        ("var aPageStart = (new Date()).getTime();", ""),
        ("<b>Bold</b> claim<br/>second line", "Bold claim second line"),
    ],
)
def test_title_is_plain_whatever_the_crawler_left(tmp_path: Path, published: str, title: str) -> None:
    data = AmazonScientific().read(folder_of(tmp_path, "A1\tB1 B1 B1\n", f"B1\t{published}\n"), None)
    assert column(data.items, "title") == [title]
    assert bool(data.notes) == (not title)


@pytest.mark.parametrize(
    ("users", "items", "words"),
    [
        (USERS_TEXT + "A3 B1 B2\n", ITEMS_TEXT, f"{USERS}, line 3: 1 fields where 2 belong: 'A3 B1 B2'"),
        (USERS_TEXT + "A3\tB1\tB2\n", ITEMS_TEXT, f"{USERS}, line 3: 3 fields where 2 belong"),
        (USERS_TEXT + "\tB1 B2\n", ITEMS_TEXT, f"{USERS}, line 3: the user's id is empty"),
        (USERS_TEXT + "A1\tB1\n", ITEMS_TEXT, f"{USERS}, line 3: user 'A1' is there twice"),
        (USERS_TEXT + "A3\tB1  B2\n", ITEMS_TEXT, f"{USERS}, line 3: an item's id is empty (one blank belongs between"),
        (USERS_TEXT + "A3\t\n", ITEMS_TEXT, f"{USERS}, line 3: an item's id is empty"),
        (USERS_TEXT, ITEMS_TEXT + "B4\n", f"{ITEMS}, line 4: 1 fields where 2 belong: 'B4'"),
        (USERS_TEXT, ITEMS_TEXT + " \tx\n", f"{ITEMS}, line 4: the item's id is empty"),
        (USERS_TEXT, ITEMS_TEXT + "B1\tx\n", f"{ITEMS}, line 4: item 'B1' is there twice"),
    ],
)
def test_broken_line_is_named_with_its_file(tmp_path: Path, users: str, items: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        AmazonScientific().read(folder_of(tmp_path, users, items), None)
    assert str(caught.value).startswith(f"{tmp_path}/{words}")
    assert "\n" not in str(caught.value)


def test_line_that_is_no_text_is_named(tmp_path: Path) -> None:
    folder_of(tmp_path, USERS_TEXT, ITEMS_TEXT)
    (tmp_path / ITEMS).write_bytes(b"B1\tIron\nB2\t\xff\n")
    with pytest.raises(InputError, match=r"items\.tsv, line 2: not utf-8 text"):
        AmazonScientific().read(tmp_path, None)


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda folder: (folder / USERS).unlink(), r"no file \*_users\*\.tsv \(the folder holds Industrial"),
        (lambda folder: (folder / ITEMS).unlink(), r"no file \*_items\*\.tsv \(the folder holds am_"),
        (lambda folder: (folder / "x_users.tsv").touch(), r"2 files match \*_users\*\.tsv where one belongs: am_"),
        (lambda folder: (folder / ITEMS).write_bytes(b""), r"items\.tsv: the file is empty"),
    ],
)
def test_missing_empty_and_surplus_files_are_named(
    tmp_path: Path, break_it: Callable[[Path], None], words: str
) -> None:
    break_it(folder_of(tmp_path, USERS_TEXT, ITEMS_TEXT))
    with pytest.raises(InputError, match=words):
        AmazonScientific().read(tmp_path, None)


def test_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.graph: nothing links the items of IISAN's sequences"):
        AmazonScientific().read(folder_of(tmp_path, USERS_TEXT, ITEMS_TEXT), tmp_path)
