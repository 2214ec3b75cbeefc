"""Reader of HetRec's Last.fm: plays as confidence, tags that tell of no listener, and every broken line named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from llmrec_recipes.music.reader import Music, MusicOptions

from llmrec_peft.data.dataset import RecDataset, column
from llmrec_peft.data.soundness import sound
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.recipe import load_recipe

NAMES = ("user_artists.dat", "artists.dat", "tags.dat", "user_taggedartists.dat")
FILES = {
    "user_artists.dat": ["userID\tartistID\tweight", "2\t51\t13883", "2\t52\t1", "3\t51\t7"],
    "artists.dat": [
        "id\tname\turl\tpictureURL",
        "51\tDuran Duran\thttp://x\t",
        '52\tLee "Scratch" Perry\t\t',
        "53\tBjörk\t\t",
    ],
    "tags.dat": ["tagID\ttagValue", "1\tpop", "2\tfußball", "3\tPop", "4\tnew wave"],
    "user_taggedartists.dat": [
        "userID\tartistID\ttagID\tday\tmonth\tyear",
        "9\t51\t4\t1\t4\t2009",
        "8\t51\t1\t1\t4\t2009",
        "9\t51\t3\t1\t4\t2009",
        "2\t51\t2\t1\t4\t1956",
        "2\t53\t2\t1\t4\t2009",
        "9\t777\t1\t1\t4\t2009",
    ],
}


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    found = shared_data / "lastfm-hetrec"
    if not (found / "user_artists.dat").is_file():
        pytest.skip(f"HetRec's Last.fm is absent: {found}")
    return found


@pytest.fixture(scope="module")
def real(folder: Path) -> RecDataset:
    return Music().read(folder, None)


def lines_of(folder: Path, name: str, encoding: str = "utf-8") -> list[list[str]]:
    text = (folder / name).read_text(encoding=encoding)
    return [line.split("\t") for line in text.splitlines()[1:] if line]


def write(folder: Path, **changed: list[str]) -> Path:
    """The files as their owner writes them: CRLF in three of them, tags in latin-1."""
    for name, lines in (FILES | {key.replace("__", "."): value for key, value in changed.items()}).items():
        text = ("\n" if name == "artists.dat" else "\r\n").join([*lines, ""])
        (folder / name).write_bytes(text.encode("latin-1" if name == "tags.dat" else "utf-8"))
    return folder


def read(folder: Path, tags: int = 6) -> RecDataset:
    return Music.opened(MusicOptions(tags=tags)).read(folder, None)


def test_real_plays_are_read_whole(real: RecDataset, folder: Path) -> None:
    names = ("user_id", "item_id", "confidence")
    rows = Counter(zip(*(column(real.interactions, name) for name in names), strict=True))
    assert rows == Counter((user, artist, float(plays)) for user, artist, plays in lines_of(folder, "user_artists.dat"))
    assert (len(real.interactions), len(real.items), len(real.users)) == (92_834, 17_632, 1_892)
    assert sound(real) is real
    assert "tags of artists that artists.dat lacks, left out: 1538" in real.notes


def test_real_tags_come_from_people_who_did_not_listen(real: RecDataset, folder: Path) -> None:
    listened = {(user, artist) for user, artist, _ in lines_of(folder, "user_artists.dat")}
    texts = {tag: text.strip().lower() for tag, text in lines_of(folder, "tags.dat", "latin-1")}
    given: dict[str, Counter[str]] = {}
    for user, artist, tag, *_ in lines_of(folder, "user_taggedartists.dat"):
        if (user, artist) not in listened:
            given.setdefault(artist, Counter())[texts[tag]] += 1
    tagged = 0
    for artist, tags in zip(column(real.items, "item_id"), column(real.items, "tags"), strict=True):
        counts = given.get(artist, Counter())
        tagged += bool(tags)
        assert len(tags) == min(6, len(counts))
        assert [counts[tag] for tag in tags] == sorted(counts.values(), reverse=True)[:6]
    assert tagged == 10_284


def test_tags_of_listeners_change_no_text_whichever_part_they_belong_to(
    real: RecDataset, folder: Path, tmp_path: Path
) -> None:
    listened = {(user, artist) for user, artist, _ in lines_of(folder, "user_artists.dat")}
    header, *rows = (folder / "user_taggedartists.dat").read_text(encoding="utf-8").splitlines()
    others = [row for row in rows if tuple(row.split("\t")[:2]) not in listened]
    for name in ("user_artists.dat", "artists.dat", "tags.dat"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "user_taggedartists.dat").write_text("\n".join([header, *others]) + "\n", encoding="utf-8")
    assert len(others) < len(rows)
    assert column(Music().read(tmp_path, None).items, "tags") == column(real.items, "tags")


def test_a_small_folder_is_read_as_it_stands(tmp_path: Path) -> None:
    data = read(write(tmp_path))
    assert data.items[:] == {
        "item_id": ["51", "52", "53"],
        "title": ["Duran Duran", 'Lee "Scratch" Perry', "Björk"],
        "tags": [["pop", "new wave"], [], ["fußball"]],
    }
    assert column(data.interactions, "confidence") == [13883.0, 1.0, 7.0]
    assert data.notes == (
        "no times are known: the order of interactions was drawn at random",
        "tags that listeners of the artist gave it, not counted: 1",
        "tags of artists that artists.dat lacks, left out: 1",
        "artists without a tag: 1",
    )


def test_most_frequent_tags_are_kept_and_none_need_no_files(tmp_path: Path) -> None:
    assert column(read(write(tmp_path), tags=1).items, "tags") == [["pop"], [], ["fußball"]]
    (tmp_path / "tags.dat").unlink()
    data = read(tmp_path, tags=0)
    assert data.items.column_names == ["item_id", "title"]
    assert "tags.dat and user_taggedartists.dat" in data.with_files("no column 'tags'")


def test_tags_that_somebody_converted_to_utf8_are_read(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "tags.dat").write_text("\n".join(FILES["tags.dat"]) + "\n", encoding="utf-8")
    assert column(read(tmp_path).items, "tags")[2] == ["fußball"]


def test_text_of_an_artist_names_its_tags(tmp_path: Path) -> None:
    rows = [f"{user}\t{51 + (user + step) % 3}\t{1 + step}" for user in range(2, 9) for step in range(3)]
    write(tmp_path, user_artists__dat=[FILES["user_artists.dat"][0], *rows])
    (tmp_path / "user_taggedartists.dat").write_text(
        "\n".join([FILES["user_taggedartists.dat"][0], "99\t51\t4\t1\t4\t2009", ""]), encoding="utf-8"
    )
    prepared = prepare(load_recipe("music", changes={"data.path": str(tmp_path)}))
    assert prepared.texts[1:] == ("Duran Duran. Tags: new wave.", 'Lee "Scratch" Perry.', "Björk.")


@pytest.mark.parametrize(
    ("name", "row", "words"),
    [
        ("user_artists.dat", "3\t52", "2 fields where 3 belong"),
        ("user_artists.dat", "x\t52\t1", "userID 'x' is no number of digits"),
        ("user_artists.dat", "3\t54\t1", "artistID '54' is not in artists.dat"),
        ("user_artists.dat", "3\t52\t0", "weight 0 is below 1"),
        ("user_artists.dat", "3\t52\t1.5", "weight '1.5' is no whole number"),
        ("user_artists.dat", "2\t51\t4", "user 2 and artist 51 are there twice"),
        ("artists.dat", "54\tCher\thttp://x", "3 fields where 4 belong"),
        ("artists.dat", "-4\tCher\t\t", "id '-4' is no number of digits"),
        ("artists.dat", "51\tCher\t\t", "artist 51 is there twice"),
        ("artists.dat", "54\t \t\t", "name is empty"),
        ("tags.dat", "5", "1 fields where 2 belong"),
        ("tags.dat", "4\tx", "tag 4 is there twice"),
        (
            "tags.dat",
            "5\tx\x93",
            "not latin-1 text (it holds control characters, as Windows' encodings give: convert the file to UTF-8)",
        ),
        ("user_taggedartists.dat", "9\t51\t4", "3 fields where 6 belong"),
        ("user_taggedartists.dat", "9\t51\t44\t1\t4\t2009", "tagID '44' is not in tags.dat"),
        ("user_taggedartists.dat", "\t51\t4\t1\t4\t2009", "userID '' is no number of digits"),
    ],
)
def test_broken_line_is_named_with_file_and_column(tmp_path: Path, name: str, row: str, words: str) -> None:
    write(tmp_path, **{name.replace(".", "__"): [*FILES[name], row]})
    with pytest.raises(InputError) as caught:
        read(tmp_path)
    assert str(caught.value) == f"{tmp_path / name}, line {len(FILES[name]) + 1}: {words}"


@pytest.mark.parametrize("name", NAMES)
def test_missing_files_and_other_headers_are_named(tmp_path: Path, name: str) -> None:
    write(tmp_path, **{name.replace(".", "__"): ["a\tb", *FILES[name][1:]]})
    with pytest.raises(InputError, match=rf"{name}, line 1: 'a\\tb' where the columns \w+, \w+.* belong"):
        read(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match=f"no file {name}"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data.replace(b"\t51\t7", b"\t51\xff\t7"), r"user_artists\.dat, line 4: not utf-8 text"),
        (lambda data: data.replace(b"51\t7", b"51\0\t7"), r"user_artists\.dat, line 4: a NUL byte"),
        (lambda data: data[:24], r"user_artists\.dat: there is no row below the header"),
    ],
)
def test_bytes_that_are_no_text_are_named(tmp_path: Path, change: Callable[[bytes], bytes], words: str) -> None:
    path = write(tmp_path) / "user_artists.dat"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=words):
        read(tmp_path)


def test_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.graph: nothing links the items of HetRec's Last\.fm"):
        Music().read(write(tmp_path), tmp_path)
