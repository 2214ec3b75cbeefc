"""Reader of MovieLens, the larger sets: each layout told by its files, read through Arrow, every broken line named."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from llmrec_recipes.movies.reader import Movies

from llmrec_peft.data.dataset import RecDataset, column
from llmrec_peft.data.soundness import sound
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.recipe import load_recipe

FILMS = [
    ("00001", "Toy Story (1995)", "Animation|Children's|Comedy"),
    ("2", "City of Lost Children, The (Cité des enfants perdus, La) (1995)", "Adventure|Drama"),
    ("3", 'Said "No", She (1990)', "(no genres listed)"),
    ("4", "Fast &amp; Loose", "Comedy"),
]
RATINGS = [
    (user, FILMS[(int(user) + at) % 4][0], 1 + (int(user) - 1 + 2 * at) % 5, 978300000 + 10 * at)
    for user in ("1", "2", "03")
    for at in range(3)
]
PEOPLE = [("1", "F", "1", "10", "48067"), ("2", "M", "56", "16", "70072"), ("03", "M", "25", "0", "55117")]


def csv_line(cells: tuple[Any, ...]) -> str:
    texts = [str(cell) for cell in cells]
    return ",".join('"' + text.replace('"', '""') + '"' if {",", '"'} & set(text) else text for text in texts)


@pytest.fixture
def comma(tmp_path: Path) -> Path:
    """The layout of 20M, 25M, 32M, latest and latest-small."""
    folder = tmp_path / "ml-latest-small"
    folder.mkdir()
    ratings = [(user, film, stars - 0.5, time) for user, film, stars, time in RATINGS]
    texts = {
        "ratings.csv": ["userId,movieId,rating,timestamp", *map(csv_line, ratings)],
        "movies.csv": ["movieId,title,genres", *map(csv_line, FILMS)],
        "tags.csv": ["userId,movieId,tag,timestamp", "1,2,dreams,978300100"],
        "links.csv": ["movieId,imdbId,tmdbId", "00001,0114709,862", "2,0112682,902"],
    }
    for name, lines in texts.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def colons(folder: Path, users: bool) -> Path:
    """The layout of 1M (with users, latin-1, whole stars) and of 10M (UTF-8, half stars)."""
    folder.mkdir()
    less = 0 if users else 0.5
    rows: dict[str, list[tuple[Any, ...]]] = {
        "ratings.dat": [(user, film, stars - less, time) for user, film, stars, time in RATINGS],
        "movies.dat": list(FILMS),
        **({"users.dat": list(PEOPLE)} if users else {"tags.dat": [("1", "2", "dreams", "978300100")]}),
    }
    for name, lines in rows.items():
        text = "".join("::".join(map(str, line)) + "\n" for line in lines)
        (folder / name).write_text(text, encoding="latin-1" if users else "utf-8")
    return folder


@pytest.fixture
def million(tmp_path: Path) -> Path:
    return colons(tmp_path / "ml-1m", users=True)


@pytest.fixture
def ten_million(tmp_path: Path) -> Path:
    return colons(tmp_path / "ml-10m", users=False)


def films_are_right(data: RecDataset) -> None:
    assert data.items[:] == {
        "item_id": ["00001", "2", "3", "4"],
        "title": [
            "Toy Story",
            "The City of Lost Children (Cité des enfants perdus, La)",
            'Said "No", She',
            "Fast & Loose",
        ],
        "year": [1995, 1995, 1990, None],
        "genres": [["Animation", "Children's", "Comedy"], ["Adventure", "Drama"], [], ["Comedy"]],
    }


def test_commas_are_read_with_half_stars(comma: Path) -> None:
    data = Movies().read(comma, None)
    films_are_right(data)
    assert sound(data) is data
    assert (data.rating_range, data.name, data.notes) == ((0.5, 5.0), "MovieLens", ())
    assert column(data.users, "user_id") == ["1", "2", "03"]
    rows = zip(*(data.interactions[name] for name in ("user_id", "item_id", "rating", "timestamp")), strict=True)
    assert list(rows) == [(user, film, stars - 0.5, time) for user, film, stars, time in RATINGS]
    assert set(column(data.interactions, "part")) == {""}, "the owner divides nothing"


def test_one_million_has_users_and_whole_stars(million: Path) -> None:
    data = Movies().read(million, None)
    films_are_right(data)
    assert data.rating_range == (1.0, 5.0)
    assert column(data.interactions, "rating") == [float(stars) for _, _, stars, _ in RATINGS]
    assert data.users[:] == {
        "user_id": ["1", "2", "03"],
        "age": [1, 56, 25],
        "gender": ["F", "M", "M"],
        "occupation": ["K-12 student", "self-employed", "other"],
    }
    assert data.notes == ()


def test_ten_million_has_half_stars_and_no_users_file(ten_million: Path) -> None:
    data = Movies().read(ten_million, None)
    films_are_right(data)
    assert data.rating_range == (0.5, 5.0)
    assert column(data.interactions, "rating")[0] == 0.5
    assert data.users.column_names == ["user_id"]


def test_all_layouts_lead_to_training_data_divided_in_time(comma: Path, million: Path) -> None:
    for folder in (comma, million):
        recipe = load_recipe("movies", ["data.split=temporal", "data.valid_fraction=0.3"], {"data.path": str(folder)})
        prepared = prepare(recipe)
        time = prepared.interactions.timestamp
        assert time[prepared.split.train].max() < time[prepared.split.test].min()
        assert prepared.texts[1] == "Toy Story (1995). Genres: Animation, Children's, Comedy."


def test_without_an_official_split_the_line_says_which_there_are(comma: Path) -> None:
    with pytest.raises(InputError, match=r"data\.split: .* without an official split here; choose .*temporal"):
        prepare(load_recipe("movies", [], {"data.path": str(comma)}))


def test_converted_line_ends_and_byte_order_marks_do_no_harm(comma: Path, million: Path) -> None:
    for folder in (comma, million):
        whole = Movies().read(folder, None)
        for path in folder.iterdir():
            mark = b"\xef\xbb\xbf" if path.name != "movies.dat" else b""
            path.write_bytes(mark + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
        data = Movies().read(folder, None)
        assert [data.interactions[:], data.items[:], data.users[:]] == [
            whole.interactions[:],
            whole.items[:],
            whole.users[:],
        ]


def test_films_of_one_million_converted_to_utf_8_are_read_as_such_and_it_is_said(million: Path) -> None:
    path = million / "movies.dat"
    path.write_bytes(path.read_bytes().decode("latin-1").encode())
    data = Movies().read(million, None)
    films_are_right(data)
    assert data.notes == ("movies.dat is read as utf-8; the owner's is latin-1",)


def test_folder_of_several_sets_or_of_none_is_refused_in_one_line(comma: Path, movielens_folder: Path) -> None:
    (movielens_folder / "ratings.csv").write_bytes((comma / "ratings.csv").read_bytes())
    with pytest.raises(InputError, match=r"the files of several MovieLens, u\.item and ratings\.csv: keep one"):
        Movies().read(movielens_folder, None)
    (comma / "ratings.csv").unlink()
    with pytest.raises(
        InputError, match=r"ratings\.csv \(20M, .*\(the folder holds links\.csv, movies\.csv, tags\.csv\)"
    ):
        Movies().read(comma, None)


Edit = Callable[[bytes], bytes]


def line(number: int, text: str) -> Edit:
    """Replace one line, numbered from 1."""

    def edit(content: bytes) -> bytes:
        lines = content.split(b"\n")
        lines[number - 1] = text.encode("latin-1")
        return b"\n".join(lines)

    return edit


@pytest.mark.parametrize(
    ("name", "edit", "said"),
    [
        ("ratings.csv", line(4, "1,2,4"), "line 4: 3 columns where 4 are expected"),
        ("ratings.csv", line(4, "1,2,4,978300000,9"), "line 4: 5 columns where 4 are expected"),
        ("ratings.csv", line(4, "1,2,4.2,978300000"), "line 4, column 'rating': '4.2' where one of 0.5, 1, 1.5"),
        ("ratings.csv", line(4, "1,2,0,978300000"), "line 4, column 'rating': '0' where one of"),
        ("ratings.csv", line(4, "1,2,,978300000"), "line 4, column 'rating': '' where one of"),
        ("ratings.csv", line(4, "1,2,good,978300000"), "line 4, column 'rating': 'good' is no number"),
        ("ratings.csv", line(4, "1,2,nan,978300000"), "line 4, column 'rating': 'nan' is no finite number"),
        ("ratings.csv", line(4, "1,2,4,-5"), "line 4, column 'timestamp': '-5' where seconds since 1970"),
        ("ratings.csv", line(4, "1,2,4,978300000000"), "line 4, column 'timestamp': '978300000000' where seconds"),
        ("ratings.csv", line(4, "1,2,4,2001-01-01"), "line 4, column 'timestamp': '2001-01-01' is no whole number"),
        ("ratings.csv", line(4, "1,1,4,978300000"), "line 4, column 'movieId': '1' which is not in movies.csv"),
        ("ratings.csv", line(4, " ,2,4,978300000"), "line 4, column 'userId': ' ' where a user's id belongs"),
        ("ratings.csv", line(4, "userId,movieId,rating,timestamp"), "line 4: it repeats the header"),
        ("ratings.csv", line(1, "userId,item,rating,timestamp"), "no column 'movieId'"),
        ("ratings.csv", lambda content: content.split(b"\n")[0], "holds no rating"),
        ("ratings.csv", lambda _: b"", "the file is empty"),
        ("ratings.csv", lambda content: content[:40] + b"\0" + content[40:], "a NUL byte"),
        ("movies.csv", line(3, "00001,Heat (1995),Drama"), "line 3, column 'movieId': '00001' is there twice"),
        ("movies.csv", line(3, ",Heat (1995),Drama"), "line 3, column 'movieId': '' where a film's id belongs"),
        ("movies.csv", line(3, "2,Cit\xe9 (1995),Drama"), "line 3: not utf-8 (byte 0xe9)"),
        ("movies.csv", line(5, '4,"Heat (1995),Drama'), "line 5: the quotation mark that opens a cell here is never"),
        ("movies.csv", line(3, "2,Heat, The (1995),Drama"), "line 3: 4 columns where 3 are expected"),
    ],
)
def test_broken_line_between_commas_is_named_with_file_and_column(
    comma: Path, name: str, edit: Edit, said: str
) -> None:
    path = comma / name
    path.write_bytes(edit(path.read_bytes()))
    refused(comma, path, said)


@pytest.mark.parametrize(
    ("name", "edit", "said"),
    [
        ("ratings.dat", line(2, "1::2::4"), "line 2: 3 columns where 4 are expected, separated by '::'"),
        ("ratings.dat", line(2, "1::2::4.5::978300000"), "line 2, column 'rating': '4.5' where one of 1, 2, 3, 4, 5"),
        ("ratings.dat", line(2, "9::2::4::978300000"), "line 2, column 'userId': '9' which is not in users.dat"),
        ("ratings.dat", line(2, "1::9::4::978300000"), "line 2, column 'movieId': '9' which is not in movies.dat"),
        ("movies.dat", line(2, "2::Heat: The: Film"), "line 2: 2 columns where 3 are expected"),
        ("movies.dat", line(2, "2::Caf\x92 (1995)::Drama"), "line 2: byte 0x92 is no letter of latin-1"),
        ("users.dat", line(2, "1::F::1::10::0"), "line 2: user '1' is there twice"),
        ("users.dat", line(2, "2::F::old::10::0"), "line 2: age 'old' is no whole number"),
        ("users.dat", line(2, "2::F::25::21::0"), "line 2: occupation 21 is outside 0 to 20"),
        ("users.dat", line(2, "2::F::25::1"), "line 2: 4 fields where 5 belong"),
    ],
)
def test_broken_line_between_colons_is_named_with_its_file(million: Path, name: str, edit: Edit, said: str) -> None:
    path = million / name
    path.write_bytes(edit(path.read_bytes()))
    refused(million, path, said)


@pytest.mark.parametrize("name", ["movies.csv", "ratings.csv"])
def test_packed_files_are_said_to_be_missing(comma: Path, name: str) -> None:
    path = comma / name
    path.with_name(f"{name}.gz").write_bytes(gzip.compress(path.read_bytes())[:-9])
    path.unlink()
    with pytest.raises(InputError, match=r"no file .*\.csv"):
        Movies().read(comma, None)


def refused(folder: Path, path: Path, said: str) -> None:
    with pytest.raises(InputError) as caught:
        Movies().read(folder, None)
    message = str(caught.value)
    assert message.startswith(str(path)), message
    assert said in message
    assert "\n" not in message


def test_a_quoted_title_may_go_on_in_the_next_line(comma: Path) -> None:
    path = comma / "movies.csv"
    path.write_bytes(line(2, '00001,"Toy\nStory (1995)",Comedy')(path.read_bytes()))
    assert column(Movies().read(comma, None).items, "title")[0] == "Toy\nStory"


def test_ratings_are_read_by_arrow_and_not_row_by_row(comma: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"{row % 997},{FILMS[row % 4][0]},{1 + row % 9 / 2},{978300000 + row}" for row in range(50_000)]
    (comma / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + "\n".join(lines), encoding="utf-8")
    monkeypatch.setattr("llmrec_peft.tabular.read.read_exactly", lambda *_: pytest.fail("read row by row"))
    data = Movies().read(comma, None)
    assert (len(data.interactions), len(data.users)) == (50_000, 997)
    assert data.interactions[996] == {
        "user_id": "996",
        "item_id": "00001",
        "rating": 4.0,
        "timestamp": 978300996,
        "part": "",
    }


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("signals.features={users: [age]}", "no column 'age'; there are user_id; age would come from u.user"),
        (
            "views.item.template={{ plot }}",
            "'plot' is undefined; the columns are genres, item_id, title, year; plot would",
        ),
        ("signals.features={items: [plot]}", "plot would come from data.options.reviews=FILE, with movieId and plot"),
    ],
)
def test_what_would_bring_a_column_that_the_data_lacks_is_said(comma: Path, override: str, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        prepare(load_recipe("movies", ["data.split=temporal", override], {"data.path": str(comma)}))
