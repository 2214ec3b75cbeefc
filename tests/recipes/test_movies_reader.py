"""Reader of MovieLens-100K: the real files as they are, and every broken line named."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from llmrec_recipes.movies.hundred_k import _at_once, _by_line
from llmrec_recipes.movies.reader import Movies
from llmrec_recipes.movies.titles import title_and_year

from llmrec_peft.data.dataset import RecDataset, column, without_duplicates
from llmrec_peft.errors import InputError


@pytest.fixture(scope="module")
def real(shared_data: Path) -> RecDataset:
    return Movies().read(shared_data / "ml-100k", shared_data / "ml-100k-kg")


def test_real_data_is_read_whole(real: RecDataset) -> None:
    assert len(real.users) == 943
    assert len(real.items) == 1682
    assert Counter(column(real.interactions, "part")) == {"train": 80_000, "test": 20_000}
    assert set(column(real.interactions, "rating")) == {1.0, 2.0, 3.0, 4.0, 5.0}
    assert without_duplicates(real) is real
    assert real.rating_range == (1, 5)
    assert "GroupLens" in real.licence


def test_real_titles_read_as_people_say_them(real: RecDataset) -> None:
    items = {row["item_id"]: row for row in real.items}
    assert (items["1"]["title"], items["1"]["year"]) == ("Toy Story", 1995)
    assert items["1"]["genres"] == ["Animation", "Children's", "Comedy"]
    assert (items["267"]["title"], items["267"]["year"], items["267"]["genres"]) == ("unknown", None, [])
    titles = set(column(real.items, "title"))
    assert {"The Godfather", "Il Postino", "A Close Shave"} <= titles
    assert not [title for title in titles if re.search(r", (The|A|An)$|\(\d{4}\)$", title)]
    assert any(ord(character) > 127 for title in titles for character in title), "Latin-1 was decoded"
    assert not [title for title in titles if "\ufffd" in title]


def test_real_graph_links_items_of_the_data_only(real: RecDataset) -> None:
    assert real.graph is not None
    linked = column(real.graph.links, "item_id")
    assert len(linked) == 1598
    assert set(linked) <= set(column(real.items, "item_id"))
    assert set(real.graph.triples.column_names) == {"head", "relation", "tail"}
    assert set(column(real.graph.triples, "head")) & set(column(real.graph.links, "entity_id"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Toy Story (1995)", ("Toy Story", 1995)),
        ("Godfather, The (1972)", ("The Godfather", 1972)),
        ("Postino, Il (1994)", ("Il Postino", 1994)),
        ("Affair to Remember, An (1957)", ("An Affair to Remember", 1957)),
        ("Shall We Dance? (1996)", ("Shall We Dance?", 1996)),
        ("2001: A Space Odyssey (1968)", ("2001: A Space Odyssey", 1968)),
        ("1900 (1976/I)", ("1900", 1976)),
        (
            "City of Lost Children, The (Cité des enfants perdus, La) (1995)",
            ("The City of Lost Children (Cité des enfants perdus, La)", 1995),
        ),
        ("Land and Freedom (Tierra y libertad) (1995)", ("Land and Freedom (Tierra y libertad)", 1995)),
        ("unknown", ("unknown", None)),
        ("Brother's Kiss, A", ("A Brother's Kiss", None)),
        ("Fawlty Towers (1975-1979)", ("Fawlty Towers", 1975)),
        ("Big Bang Theory, The (2007-)", ("The Big Bang Theory", 2007)),
        ("Black Mirror: White Christmas (2014) ", ("Black Mirror: White Christmas", 2014)),
    ],
)
def test_title_and_year_are_parted(text: str, expected: tuple[str, int | None]) -> None:
    assert title_and_year(text) == expected


def test_made_up_folder_is_read(movielens_folder: Path) -> None:
    data = Movies().read(movielens_folder, None)
    assert (len(data.users), len(data.items), len(data.interactions)) == (30, 40, 600)
    assert column(data.items, "title")[0] == "The Café Number 1"
    assert data.graph is None


def test_folder_with_u_data_alone_has_no_official_parts(movielens_folder: Path) -> None:
    (movielens_folder / "u1.base").rename(movielens_folder / "u.data")
    (movielens_folder / "u1.test").unlink()
    data = Movies().read(movielens_folder, None)
    assert set(column(data.interactions, "part")) == {""}


def test_blank_lines_and_windows_line_ends_do_no_harm(movielens_folder: Path) -> None:
    whole = column(Movies().read(movielens_folder, None).interactions, "timestamp")
    path = movielens_folder / "u1.base"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n\n")
    assert column(Movies().read(movielens_folder, None).interactions, "timestamp") == whole


def test_files_converted_to_utf_8_are_read_as_such_and_it_is_said(movielens_folder: Path) -> None:
    whole = Movies().read(movielens_folder, None)
    path = movielens_folder / "u.item"
    for mark in (b"", b"\xef\xbb\xbf"):
        path.write_bytes(mark + path.read_bytes().removeprefix(b"\xef\xbb\xbf").decode("latin-1").encode())
        data = Movies().read(movielens_folder, None)
        assert column(data.items, "title") == column(whole.items, "title")
        assert column(data.items, "item_id")[0] == "1"
        assert data.notes == ("u.item is read as UTF-8; the owner's is latin-1",)
        path.write_bytes(path.read_bytes().removeprefix(mark).decode().encode("latin-1"))


@pytest.mark.parametrize("name", ["u.genre", "u.user", "u1.base", "u1.test"])
def test_byte_order_mark_is_no_part_of_an_id(movielens_folder: Path, name: str) -> None:
    whole = Movies().read(movielens_folder, None)
    path = movielens_folder / name
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    data = Movies().read(movielens_folder, None)
    assert data.interactions[:] == whole.interactions[:]
    assert data.users[:] == whole.users[:]
    assert data.items[:] == whole.items[:]


def replaced(name: str, line: int, change: Callable[[str], str | bytes]) -> Callable[[Path], None]:
    """Replace one line of a file, numbered from 1."""

    def edit(folder: Path) -> None:
        lines = (folder / name).read_bytes().splitlines()
        new = change(lines[line - 1].decode("latin-1"))
        lines[line - 1] = new if isinstance(new, bytes) else new.encode("latin-1")
        (folder / name).write_bytes(b"\n".join(lines) + b"\n")

    return edit


def with_field(at: int, value: str, delimiter: str = "\t") -> Callable[[str], str]:
    """Replace one field of a line."""

    def change(line: str) -> str:
        fields = line.split(delimiter)
        fields[at] = value
        return delimiter.join(fields)

    return change


@pytest.mark.parametrize(
    ("break_it", "place", "words"),
    [
        (replaced("u1.base", 7, lambda line: line[:6]), "u1.base, line 7: ", "fields where 4 belong"),
        (replaced("u1.test", 3, lambda line: line + "\t9"), "u1.test, line 3: ", "5 fields where 4 belong"),
        (replaced("u1.base", 5, with_field(2, "6")), "u1.base, line 5: ", "rating 6 is outside 1 to 5"),
        (replaced("u1.test", 1, with_field(2, "0")), "u1.test, line 1: ", "rating 0 is outside 1 to 5"),
        (replaced("u1.base", 2, with_field(2, "4.5")), "u1.base, line 2: ", "rating '4.5' is no whole"),
        (replaced("u1.base", 2, with_field(2, "")), "u1.base, line 2: ", "rating '' is no whole number"),
        (replaced("u1.base", 2, with_field(3, "now")), "u1.base, line 2: ", "timestamp 'now' is no whole"),
        (replaced("u1.base", 2, with_field(3, "9" * 30)), "u1.base, line 2: ", "is too large"),
        (replaced("u1.base", 4, with_field(1, "41")), "u1.base, line 4: ", "item '41' is not in u.item"),
        (replaced("u1.test", 2, with_field(0, "31")), "u1.test, line 2: ", "user '31' is not in u.user"),
        (replaced("u1.base", 9, lambda _: b"1\t1\t3\t\xff8"), "u1.base, line 9: ", "not utf-8 text"),
        (replaced("u.item", 6, with_field(0, "5", "|")), "u.item, line 6: ", "item '5' is there twice"),
        (replaced("u.item", 8, lambda line: line[:20]), "u.item, line 8: ", "fields where 24 belong"),
        (replaced("u.item", 8, with_field(9, "2", "|")), "u.item, line 8: ", "genre flags must be 0 or 1"),
        (replaced("u.user", 3, with_field(0, "2", "|")), "u.user, line 3: ", "user '2' is there twice"),
        (replaced("u.user", 3, with_field(0, "", "|")), "u.user, line 3: ", "the user's id is empty"),
        (replaced("u.user", 3, with_field(1, "200", "|")), "u.user, line 3: ", "age 200 is outside 0 to 150"),
        (replaced("u.item", 6, with_field(0, " ", "|")), "u.item, line 6: ", "the item's id is empty"),
        (replaced("u.item", 6, lambda line: line.replace("Caf", "Caf\x92")), "u.item, line 6: ", "not latin-1 text"),
        (replaced("u.user", 2, with_field(1, "old", "|")), "u.user, line 2: ", "age 'old' is no whole"),
        (replaced("u.genre", 3, lambda line: line + "|"), "u.genre, line 3: ", "3 fields where 2 belong"),
    ],
)
def test_broken_line_is_named_with_its_file(
    movielens_folder: Path, break_it: Callable[[Path], None], place: str, words: str
) -> None:
    break_it(movielens_folder)
    with pytest.raises(InputError) as caught:
        Movies().read(movielens_folder, None)
    assert str(movielens_folder / place.rstrip()) in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["u.item", "u.genre", "u.user", "u1.base", "u1.test"])
def test_missing_and_empty_files_are_named(movielens_folder: Path, name: str) -> None:
    path = movielens_folder / name
    path.write_bytes(b"")
    with pytest.raises(InputError, match=f"{name}: the file is empty"):
        Movies().read(movielens_folder, None)
    path.unlink()
    with pytest.raises(InputError, match=rf"no file {name} \(the folder holds u"):
        Movies().read(movielens_folder, None)


def test_empty_and_missing_folders_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file u\.item \(MovieLens-100K\), ratings\.dat .*holds nothing\)"):
        Movies().read(tmp_path, None)
    with pytest.raises(InputError, match="no data folder "):
        Movies().read(tmp_path / "absent", None)


@pytest.fixture
def graph_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "kg"
    folder.mkdir()
    (folder / "x.kg").write_text("head:token\trelation:token\ttail:token\nm.1\tfilm.genre\tm.9\n", encoding="utf-8")
    (folder / "x.link").write_text("item:token\tentity:token\n1\tm.1\n99\tm.2\n", encoding="utf-8")
    return folder


def test_graph_folder_is_read_and_links_to_other_items_are_left_out_and_counted(
    movielens_folder: Path, graph_folder: Path
) -> None:
    data = Movies().read(movielens_folder, graph_folder)
    graph = data.graph
    assert data.notes == ("links of the graph to films that are not in u.item, left out: 1",)
    assert graph is not None
    assert graph.links[:] == {"item_id": ["1"], "entity_id": ["m.1"]}
    assert graph.triples[:] == {"head": ["m.1"], "relation": ["film.genre"], "tail": ["m.9"]}


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda folder: (folder / "x.kg").unlink(), "kg: no file *.kg (the folder holds x.link)"),
        (lambda folder: (folder / "y.link").touch(), "kg: 2 files match *.link where one belongs"),
        (replaced("x.kg", 2, lambda _: "m.1\tm.9"), "x.kg, line 2: 2 fields where 3 belong"),
        (replaced("x.link", 3, lambda _: "99"), "x.link, line 3: 1 fields where 2 belong"),
        (replaced("x.link", 2, lambda _: "41\tm.1"), "the graph links no item of this data"),
        (lambda folder: (folder / "x.kg").write_text(""), "x.kg: the file is empty"),
    ],
)
def test_wrong_graph_folder_is_named(
    movielens_folder: Path, graph_folder: Path, break_it: Callable[[Path], None], words: str
) -> None:
    break_it(graph_folder)
    with pytest.raises(InputError) as caught:
        Movies().read(movielens_folder, graph_folder)
    assert words in str(caught.value)


def test_missing_graph_folder_is_named(movielens_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no graph folder .*absent"):
        Movies().read(movielens_folder, tmp_path / "absent")


def test_films_folder_given_as_graph_is_refused(movielens_folder: Path) -> None:
    with pytest.raises(InputError, match=r"no file \*\.kg"):
        Movies().read(movielens_folder, movielens_folder)


def test_real_ratings_are_read_at_once_as_line_by_line(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = "llmrec_recipes.movies.hundred_k"
    with monkeypatch.context() as patched:
        patched.setattr(f"{room}._by_line", lambda *_: pytest.fail("a line of the owner's files is out of order"))
        at_once = Movies().read(shared_data / "ml-100k", None).interactions
    monkeypatch.setattr(f"{room}.columns_at_once", lambda *_: None)
    by_line = Movies().read(shared_data / "ml-100k", None).interactions
    assert at_once.features == by_line.features
    assert at_once[:] == by_line[:]


@pytest.mark.parametrize(
    ("line", "read"),
    [
        (b"1\t1\t5\t8\r\n", True),
        (b"\n1\t1\t5\t8", True),
        (b"1\t1\t+5\t8\n", False),
        (b"1\t1\t5\t-8\n", False),
        (b"1\t1\t05\t8\n", False),
        (b"1\t1\t5\t8\r1\t1\t5\t9\n", False),
        (b"1\t1\t5\t8 \n", False),
        (b'1\t"1"\t5\t8\n', False),
        (b"1\t1\t5\t8\0\n", False),
        (b"1\t1\t5\t99999999999999999999\n", False),
        (b"1\t1\t5\n", False),
        (b"1\t1\t5\t\n", False),
        (b"9\t1\t5\t8\n", False),
        (b"\xff\t1\t5\t8\n", False),
    ],
)
def test_only_what_a_walk_by_lines_reads_alike_is_read_at_once(line: bytes, read: bool, tmp_path: Path) -> None:
    file = tmp_path / "u.data"
    file.write_bytes(b"1\t2\t3\t4\n" + line)
    found = _at_once(file, "", {"1", "2"}, {"1"})
    assert (found is not None) == read
    if found is not None:
        assert found.to_pydict() == _by_line([(file, "")], {"1", "2"}, {"1"})[:]
