"""Reader of MicroLens: times in seconds, titles in the language that their file has, every broken line named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from llmrec_recipes.video.reader import Video, VideoOptions

from llmrec_peft.data.dataset import RecDataset, column
from llmrec_peft.data.soundness import sound
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.recipe import load_recipe

PAIRS, ENGLISH, CHINESE = "MicroLens-100k_pairs.csv", "MicroLens-100k_title_en.csv", "MicroLens-100k_title_cn.csv"
START = 1_657_343_260_000
ROWS = ["user,item,timestamp", f"6,764,{START}", f"6,269,{START + 43_999}", f"7,269,{START - 1_000}"]
IN_ENGLISH = ["764, Gu long song", '269, beef, noodles and "soup"', "3,", '4,"a, quoted ""title"""']
IN_CHINESE = ["764,古龙之歌", "269,牛肉面, 5块钱", "3,", "4,ASMR 大胃王"]
Language = Literal["en", "zh", "auto"]


def write(folder: Path, **changed: list[str]) -> Path:
    files = {PAIRS: ROWS, ENGLISH: IN_ENGLISH}
    for name, lines in (files | {key.replace("__", "."): value for key, value in changed.items()}).items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


def read(folder: Path, language: Language = "auto") -> RecDataset:
    return Video.opened(VideoOptions(language=language)).read(folder, None)


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    found = shared_data / "microlens-sample"
    if not (found / PAIRS).is_file():
        pytest.skip(f"MicroLens's sample is absent: {found}")
    return found


def test_real_rows_and_titles_are_read_whole(folder: Path) -> None:
    data = read(folder)
    rows = [line.split(",") for line in (folder / PAIRS).read_text(encoding="utf-8").splitlines()[1:]]
    names = ("user_id", "item_id", "timestamp")
    assert Counter(zip(*(column(data.interactions, name) for name in names), strict=True)) == Counter(
        (user, item, int(time) // 1000) for user, item, time in rows
    )
    titles = [line.partition(",") for line in (folder / ENGLISH).read_text(encoding="utf-8").splitlines()]
    assert column(data.items, "title") == [title.strip() for _, _, title in titles]
    assert (len(data.interactions), len(data.items), len(data.users)) == (14_628, 19_738, 5_986)
    assert data.notes[0] == f"titles are English, of {ENGLISH}"
    assert sound(data) is data


def test_test_is_later_than_all_that_is_learnt_from_and_histories_are_earlier(folder: Path) -> None:
    prepared = prepare(load_recipe("video", changes={"data.path": str(folder)}))
    numbers, parts = prepared.interactions, prepared.split
    assert numbers.timestamp[parts.train].max() < numbers.timestamp[parts.valid].min()
    assert numbers.timestamp[parts.valid].max() < numbers.timestamp[parts.test].min()
    assert numbers.history is not None
    first_met: dict[tuple[int, int], int] = {}
    for user, item, time in zip(numbers.user.tolist(), numbers.item.tolist(), numbers.timestamp.tolist(), strict=True):
        first_met[user, item] = min(time, first_met.get((user, item), time))
    for row in np.concatenate([parts.valid, parts.test]).tolist():
        for item in numbers.history.of(row)[0].tolist():
            assert first_met[int(numbers.user[row]), item] < numbers.timestamp[row]


def test_a_small_folder_is_read_as_it_stands(tmp_path: Path) -> None:
    data = read(write(tmp_path))
    assert column(data.interactions, "timestamp") == [1_657_343_260, 1_657_343_303, 1_657_343_259]
    assert data.items[:] == {
        "item_id": ["764", "269", "3", "4"],
        "title": ["Gu long song", 'beef, noodles and "soup"', "", 'a, quoted "title"'],
    }
    assert data.notes == (f"titles are English, of {ENGLISH}", "videos with an empty title: 1")


def test_titles_say_their_language_whatever_the_file_is_called(tmp_path: Path) -> None:
    write(tmp_path, **{ENGLISH.replace(".", "__"): IN_CHINESE})
    data = read(tmp_path)
    assert column(data.items, "title")[:2] == ["古龙之歌", "牛肉面, 5块钱"]
    assert data.notes[0] == f"titles are Chinese, of {ENGLISH}"
    assert column(read(tmp_path, "zh").items, "title") == column(data.items, "title")
    with pytest.raises(
        InputError, match=r"data\.options\.language: \S+ has no English titles, only Chinese ones, in Micro"
    ):
        read(tmp_path, "en")


@pytest.mark.parametrize(("language", "first"), [("auto", "Gu long song"), ("en", "Gu long song"), ("zh", "古龙之歌")])
def test_of_two_languages_the_one_that_is_asked_for_is_read(tmp_path: Path, language: Language, first: str) -> None:
    write(tmp_path, **{CHINESE.replace(".", "__"): IN_CHINESE})
    assert column(read(tmp_path, language).items, "title")[0] == first


def test_titles_of_one_language_in_two_files_are_refused(tmp_path: Path) -> None:
    write(tmp_path, **{"a_titles__csv": IN_ENGLISH})
    with pytest.raises(InputError, match=f"two files have English titles, keep one of them: {ENGLISH}, a_titles.csv"):
        read(tmp_path)


def test_a_header_above_the_titles_and_videos_without_a_title_are_read(tmp_path: Path) -> None:
    write(tmp_path, **{ENGLISH.replace(".", "__"): ["item,title", *IN_ENGLISH[1:]]})
    data = read(tmp_path)
    assert data.items[:]["item_id"] == ["269", "3", "4", "764"]
    assert data.items[:]["title"][3] == ""
    assert f"videos that {ENGLISH} lacks, known by their id alone: 1" in data.notes


@pytest.mark.parametrize(
    ("name", "row", "words"),
    [
        (PAIRS, "6,764", "2 fields where 3 belong"),
        (PAIRS, f"u6,764,{START}", "user 'u6' is no number of digits"),
        (PAIRS, f"6,,{START}", "item '' is no number of digits"),
        (PAIRS, "6,764,1657343260", "timestamp (milliseconds) 1657343260 is outside 1000000000000 to 10000000000000"),
        (PAIRS, "6,764,2022-07-09", "timestamp (milliseconds) '2022-07-09' is no whole number"),
        (PAIRS, "6,764,nan", "timestamp (milliseconds) 'nan' is no whole number"),
        (PAIRS, '6,"764', "no CSV (unexpected end of data)"),
        (ENGLISH, "a title without its video", "no comma between item and title: 'a title without its video'"),
        (ENGLISH, "x9,title", "item 'x9' is no number of digits"),
        (ENGLISH, "764,again", "item 764 is there twice"),
        (ENGLISH, f"9,{'x' * 10_001}", "title has 10001 characters, more than 10000"),
        (ENGLISH, "9,a\0b", "a NUL byte, as UTF-16 has them: convert the file to UTF-8"),
    ],
)
def test_broken_line_is_named_with_file_and_column(tmp_path: Path, name: str, row: str, words: str) -> None:
    lines = ROWS if name == PAIRS else IN_ENGLISH
    write(tmp_path, **{name.replace(".", "__"): [*lines, row]})
    with pytest.raises(InputError) as caught:
        read(tmp_path)
    assert str(caught.value) == f"{tmp_path / name}, line {len(lines) + 1}: {words}"


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda folder: (folder / PAIRS).unlink(), r"no file \*_pairs\.csv \(the folder holds MicroLens-100k_title_en"),
        (
            lambda folder: (folder / ENGLISH).unlink(),
            r"no file \*_title\*\.csv \(the folder holds MicroLens-100k_pairs",
        ),
        (lambda folder: (folder / "x_pairs.csv").touch(), r"2 files match \*_pairs\.csv where one belongs"),
        (lambda folder: (folder / ENGLISH).write_text("item,title\n"), "title_en.csv: there is no title"),
        (lambda folder: (folder / ENGLISH).write_bytes("1,古".encode("gb18030")), "line 1: not utf-8 text"),
        (lambda folder: (folder / PAIRS).write_text("user,item,timestamp\n"), "there is no row below the header"),
        (lambda folder: (folder / PAIRS).write_text("u,i,t\n"), "line 1: 'u,i,t' where 'user,item,timestamp' belongs"),
    ],
)
def test_missing_and_surplus_files_and_other_headers_are_named(
    tmp_path: Path, break_it: Callable[[Path], None], words: str
) -> None:
    break_it(write(tmp_path))
    with pytest.raises(InputError, match=words):
        read(tmp_path)


def test_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.graph: nothing links the items of MicroLens"):
        Video().read(write(tmp_path), tmp_path)
