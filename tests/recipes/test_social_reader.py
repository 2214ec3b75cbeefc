"""Reader of FilmTrust and Last.fm: what the files hold, what is left out, and every broken line named."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llmrec_recipes.social.reader import Social, SocialOptions

from llmrec_peft.data.dataset import RecDataset, column
from llmrec_peft.data.soundness import sound
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.recipe import load_recipe

RATINGS = ["1 7 4", "1 8 0.5", "2 7 3.5", "1 7 2"]
TRUST = ["1 2 1", "2 1 1", "1 1 1", "1 2 1", "2 9 1"]


def write(folder: Path, **files: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, lines in files.items():
        (folder / name.replace("__", ".")).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return folder


@pytest.fixture
def filmtrust(tmp_path: Path) -> Path:
    return write(tmp_path / "filmtrust", ratings__txt=RATINGS, trust__txt=TRUST)


@pytest.fixture
def lastfm(tmp_path: Path) -> Path:
    return write(
        tmp_path / "lastfm",
        artists__dat=["id\tname\turl\tpictureURL", '51\tDuran "Duran\t\t', "52\t\tx\ty"],
        user_artists__dat=["userID\tartistID\tweight", "2\t51\t13883", "2\t52\t1", "3\t51\t2"],
        user_friends__dat=["userID\tfriendID", "2\t3", "3\t2", "2\t4"],
    )


def read(folder: Path, **options: Any) -> RecDataset:
    return Social.opened(SocialOptions(**options)).read(folder, None)


def links_of(data: RecDataset) -> set[tuple[str, str]]:
    assert data.user_links is not None
    return set(zip(column(data.user_links, "user_id"), column(data.user_links, "other_id"), strict=True))


def test_ratings_and_trust_are_read_and_what_is_left_out_is_counted(filmtrust: Path) -> None:
    data = sound(read(filmtrust))
    rows = {name: column(data.interactions, name) for name in ("user_id", "item_id", "rating")}
    assert list(zip(*rows.values(), strict=True)) == [("1", "8", 0.5), ("2", "7", 3.5), ("1", "7", 2.0)]
    assert links_of(data) == {("1", "2"), ("2", "1"), ("2", "9")}
    assert column(data.users, "user_id") == ["1", "2", "9"], "9 has rated nothing"
    assert data.notes == (
        "ratings.txt: pairs of user and item that stand there several times, the last one kept: 1 lines left out",
        "trust.txt: links of a person to himself, left out: 1",
        "trust.txt: links that stand there several times, kept once: 1",
    )


@pytest.mark.parametrize("separator", ["\t", ",", ";", "::", "  "])
def test_files_with_other_separators_are_the_same(tmp_path: Path, filmtrust: Path, separator: str) -> None:
    turned = {
        name: [line.replace(" ", separator) for line in lines]
        for name, lines in {"ratings__txt": RATINGS, "trust__txt": TRUST}.items()
    }
    other, own = read(write(tmp_path / "other", **turned)), read(filmtrust)
    assert links_of(other) == links_of(own)
    assert column(other.interactions, "rating") == column(own.interactions, "rating")


def test_friendships_that_stand_there_one_way_are_read_both_ways(lastfm: Path) -> None:
    data = sound(read(lastfm))
    assert links_of(data) == {("2", "3"), ("3", "2"), ("2", "4"), ("4", "2")}
    assert data.notes == ("user_friends.dat: friendships that stand there one way only, read both ways: 1",)
    assert column(data.items, "title") == ['Duran "Duran', ""]
    assert (data.feedback, len(set(column(data.interactions, "timestamp")))) == ("implicit", 3)


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("ratings.txt", [*RATINGS, "2 8 5"], r"ratings\.txt, line 5, column 'rating': 5 where one of 0\.5, 1"),
        ("ratings.txt", [*RATINGS, "2 8 0.7"], r"ratings\.txt, line 5, column 'rating': 0\.7 where"),
        ("ratings.txt", [*RATINGS, "2 8 x"], r"ratings\.txt, line 5.*rating"),
        ("ratings.txt", [*RATINGS, "2 8"], r"ratings\.txt, line 5"),
        ("ratings.txt", [], r"ratings\.txt: the file is empty"),
        ("trust.txt", ["1 2 1", "1 3 0"], r"trust\.txt, line 2, column 'trust': 0 where 1 belongs"),
        ("trust.txt", ["1,2,1", "1,,1"], r"trust\.txt, line 2, column 'trustee': an id without blanks"),
        ("trust.txt", ["1 1 1"], r"trust\.txt: nobody is linked to anybody else"),
    ],
)
def test_a_broken_line_of_filmtrust_is_named(filmtrust: Path, name: str, lines: list[str], message: str) -> None:
    (filmtrust / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        read(filmtrust)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("user_artists.dat", "3\t99\t1", r"line 5, column 'artistID': '99' is not in artists\.dat"),
        ("user_artists.dat", "3\t52\t0.5", r"line 5, column 'weight': 0\.5 where a number of plays"),
        ("artists.dat", "51\tagain\t\t", "line 4, column 'id': this id is there twice"),
        ("user_friends.dat", "2\t", "line 5, column 'friendID': an id without blanks"),
    ],
)
def test_a_broken_line_of_lastfm_is_named(lastfm: Path, name: str, line: str, message: str) -> None:
    with (lastfm / name).open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(InputError, match=f"{name}, {message}"):
        read(lastfm)


def test_a_file_without_its_columns_is_refused(lastfm: Path) -> None:
    (lastfm / "user_friends.dat").write_text("a\tb\n1\t2\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"user_friends\.dat, line 1: no column 'userID'"):
        read(lastfm)


def test_folders_of_neither_and_of_both_are_refused(tmp_path: Path, filmtrust: Path, lastfm: Path) -> None:
    with pytest.raises(InputError, match="no data folder"):
        read(tmp_path / "absent")
    with pytest.raises(InputError, match=r"no file ratings\.txt \(FilmTrust\) or user_artists\.dat"):
        read(write(tmp_path / "empty"))
    (filmtrust / "user_artists.dat").write_bytes((lastfm / "user_artists.dat").read_bytes())
    with pytest.raises(InputError, match="the files of FilmTrust and of Last"):
        read(filmtrust)
    with pytest.raises(InputError, match=r"data\.graph: nothing links the items of social data"):
        Social.opened(SocialOptions()).read(lastfm, tmp_path)


def test_the_file_that_would_bring_the_links_is_named(filmtrust: Path) -> None:
    (filmtrust / "trust.txt").unlink()
    with pytest.raises(
        InputError, match=r"signals\.trust: FilmTrust comes without .*user_links would come from trust\.txt"
    ):
        prepare(load_recipe("social", changes={"data.path": str(filmtrust)}))
    with pytest.raises(InputError, match=r"data\.options\.recommend: FilmTrust has no people .* without trust\.txt"):
        read(filmtrust, recommend="people")


def people(**options: Any) -> RecDataset:
    return Social.opened(SocialOptions(recommend="people", **options)).demo(0)


def test_pairs_of_people_are_held_out_both_ways_at_once() -> None:
    data = sound(people())
    parts: dict[frozenset[str], set[str]] = {}
    rows = [column(data.interactions, name) for name in ("user_id", "item_id", "part")]
    for one, other, part in zip(*rows, strict=True):
        parts.setdefault(frozenset((one, other)), set()).add(part)
    assert {len(found) for found in parts.values()} == {1}
    shares = Counter(next(iter(found)) for found in parts.values())
    assert shares["test"] == round(0.2 * len(parts))
    assert shares["valid"] == round(0.1 * (len(parts) - shares["test"]))
    times = np.array(column(data.interactions, "timestamp"))
    part = np.array(rows[2])
    assert times[part == "train"].max() < times[part == "valid"].min() <= times[part == "valid"].max()
    assert times[part == "valid"].max() < times[part == "test"].min()


def test_nothing_of_a_held_out_pair_is_known_in_training() -> None:
    """The reverse of a link that is tested is refused as a leak, should a reader let it pass."""
    prepared = prepare(load_recipe("social-people", changes={"data.path": "demo"}))
    known = set(zip(prepared.learned(True).user.tolist(), prepared.learned(True).item.tolist(), strict=True))
    tested = set(zip(prepared.test.user.tolist(), prepared.test.item.tolist(), strict=True))
    assert not known & ({(other, one) for one, other in tested} | tested), "users and items have one order here"
    assert {leak.name for leak in prepared.leaks} <= {"same_history"}
    assert prepared.links is None, "no signal sees the links beside the interactions"
    assert prepared.recipe.data.items_are_users
    history = prepared.test.history
    assert history is not None
    for at in range(len(prepared.test)):
        assert prepared.test.item[at] not in history.of(at)[0]


def test_seeds_draw_other_pairs() -> None:
    names = ("user_id", "item_id", "part")
    data = [people(seed=seed).interactions for seed in (0, 0, 1)]
    drawn = [set(zip(*(column(one, name) for name in names), strict=True)) for one in data]
    assert drawn[0] == drawn[1] != drawn[2]


def test_too_few_people_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "few", ratings__txt=RATINGS, trust__txt=["1 2 1", "2 1 1"])
    with pytest.raises(InputError, match=r"trust\.txt: 1 pairs of people are too few"):
        read(folder, recommend="people")


def test_the_published_files_hold_what_their_owners_say(shared_data: Path) -> None:
    folders = [shared_data / "filmtrust", shared_data / "lastfm-hetrec"]
    absent = [one for one in (folders[0] / "trust.txt", folders[1] / "user_friends.dat") if not one.is_file()]
    if absent:
        pytest.skip(f"real data is absent: {absent[0]}")
    film, music = (sound(read(folder)) for folder in folders)
    assert (len(film.interactions), len(film.users), len(film.items), len(links_of(film))) == (35_494, 1642, 2071, 1853)
    assert (len(music.interactions), len(music.users), len(music.items)) == (92_834, 1892, 17_632)
    assert len(links_of(music)) == 25_434
    for folder, links in zip(folders, (1853, 25_434), strict=True):
        found = sound(read(folder, recommend="people"))
        assert len(found.interactions) == links
        assert found.user_links is None


def test_reports_group_users_by_links_and_ratings(filmtrust: Path) -> None:
    many = [f"3 {film} 4" for film in range(1, 6)]
    data = read(write(filmtrust, ratings__txt=[*RATINGS, *many], trust__txt=["1 2 1"]))
    kinds = dict(zip(column(data.interactions, "user_id"), column(data.interactions, "kind"), strict=True))
    assert kinds == {"1": "linked_and_rates_little", "2": "unlinked_and_rates_little", "3": "unlinked"}


def test_films_are_no_people() -> None:
    recipe = load_recipe("social", changes={"data.path": "demo", "data.items_are_users": True})
    with pytest.raises(InputError, match=r"data\.items_are_users: the items of made-up .* are no people"):
        prepare(recipe)
    told = prepare(load_recipe("social-people", changes={"data.path": "demo"})).recipe
    assert prepare(told).recipe == told, "a run's recipe can be trained again"
