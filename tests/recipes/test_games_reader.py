"""Reader of Steam-200k: pairs of user and game with their hours, and every broken line named."""

from __future__ import annotations

import csv
import gzip
import io
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from llmrec_recipes.games.reader import Games

from llmrec_peft.data.dataset import RecDataset, column
from llmrec_peft.data.soundness import sound
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.recipe import load_recipe

NAME = "steam-200k.csv"
ROWS = [
    '1,"Half-Life",purchase,1.0,0',
    '1,"Half-Life",play,12.5,0',
    '1,"Deponia, The ""Complete"" Journey",purchase,1.0,0',
    "2,Half-Life,purchase,1.0,0",
    "2,Half-Life,purchase,1.0,0",
    "2,Portal ,purchase,1.0,0",
    "2,Portal,play,2.0,0",
    "2,Portal,play,0.5,0",
    "2,Portal,play,0.5,0",
]


@pytest.fixture(scope="module")
def real(shared_data: Path) -> RecDataset:
    folder = shared_data / "steam-200k"
    if not (folder / f"{NAME}.gz").is_file():
        pytest.skip(f"Steam-200k is absent: {folder}")
    return Games().read(folder, None)


def read(folder: Path, rows: list[str], name: str = NAME) -> RecDataset:
    text = "".join(f"{row}\n" for row in rows).encode()
    (folder / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return Games().read(folder, None)


def hours_of(data: RecDataset) -> dict[tuple[str, str], float]:
    names = ("user_id", "item_id", "confidence")
    return {
        (user, game): hours
        for user, game, hours in zip(*(column(data.interactions, name) for name in names), strict=True)
    }


def test_real_rows_are_pairs_with_the_hours_that_they_were_played(real: RecDataset, shared_data: Path) -> None:
    with gzip.open(shared_data / "steam-200k" / f"{NAME}.gz", "rt", encoding="utf-8") as file:
        rows = {(user, game.strip(), kind, float(hours)) for user, game, kind, hours, _ in csv.reader(file)}
    expected: defaultdict[tuple[str, str], float] = defaultdict(float)
    for user, game, kind, hours in rows:
        expected[user, game] += hours if kind == "play" else 0.0
    assert hours_of(real) == pytest.approx(expected, rel=1e-6)
    assert (len(real.interactions), len(real.items), len(real.users)) == (128_801, 5_153, 12_393)
    assert set(column(real.interactions, "rating")) == {1.0}
    assert sound(real) is real


def test_order_of_real_rows_is_drawn_and_always_the_same(real: RecDataset, shared_data: Path) -> None:
    order = column(real.interactions, "timestamp")
    assert sorted(order) == list(range(len(order)))
    assert abs(np.corrcoef(order, range(len(order)))[0, 1]) < 0.02
    assert column(Games().read(shared_data / "steam-200k", None).interactions, "timestamp") == order


@pytest.mark.parametrize("name", [NAME, f"{NAME}.gz"])
def test_rows_of_one_pair_become_one_interaction(tmp_path: Path, name: str) -> None:
    data = read(tmp_path, ROWS, name)
    deponia = 'Deponia, The "Complete" Journey'
    assert hours_of(data) == {
        ("1", "Half-Life"): 12.5,
        ("1", deponia): 0.0,
        ("2", "Half-Life"): 0.0,
        ("2", "Portal"): 2.5,
    }
    assert data.items[:] == {"item_id": ["Half-Life", deponia, "Portal"], "title": ["Half-Life", deponia, "Portal"]}
    assert data.feedback == "implicit"
    assert data.notes == (
        "no times are known: the order of interactions was drawn at random",
        "rows that repeat an earlier one, left out: 2",
        "rows of a further play of one user and title, whose hours were added: 1",
    )


def test_each_user_with_several_games_gives_one_to_test(tmp_path: Path) -> None:
    rows = [
        f'{user},"Game {(user * 3 + step) % 9}",purchase,1.0,0' for user in range(8) for step in range(1 + user % 4)
    ]
    read(tmp_path, rows)
    prepared = prepare(load_recipe("games", changes={"data.path": str(tmp_path)}))
    held_out = prepared.interactions.user[prepared.split.test]
    counts = np.bincount(prepared.interactions.user)
    assert sorted(held_out.tolist()) == np.flatnonzero(counts > 1).tolist()
    assert not set(prepared.split.test) & set(prepared.split.fit)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("3,Half-Life,play,2.0", "4 fields where 5 belong"),
        ("3,Half-Life,play,2.0,0,0", "6 fields where 5 belong"),
        ("3,Half, Life,play,2.0", "behavior ' Life' is neither purchase nor play"),
        ("x3,Half-Life,play,2.0,0", "user 'x3' is no number of digits"),
        (",Half-Life,play,2.0,0", "user '' is no number of digits"),
        ("٣,Half-Life,play,2.0,0", r"user '\u0663' is no number of digits"),
        ('3," ",play,2.0,0', "game is empty"),
        (f"3,{'x' * 501},play,2.0,0", "game is too long a title"),
        ("3,Half-Life,refund,2.0,0", "behavior 'refund' is neither purchase nor play"),
        ("3,Half-Life,play,-2.0,0", "hours '-2.0' is no number from 0 up"),
        ("3,Half-Life,play,nan,0", "hours 'nan' is no number from 0 up"),
        ("3,Half-Life,play,1e3,0", "hours '1e3' is no number from 0 up"),
        ("3,Half-Life,play,2000000,0", "hours 2000000 is above 1e+06"),
        ("3,Half-Life,play,2.0,1", "the last column is '1' where 0 belongs"),
        ('3,"Half-Life,play,2.0,0', "no CSV (unexpected end of data)"),
        ('3,"Half"-Life,play,2.0,0', "no CSV (',' expected after '\"')"),
        ("3,Half\0Life,play,2.0,0", "a NUL byte, as UTF-16 has them: convert the file to UTF-8"),
    ],
)
def test_broken_line_is_named_with_its_column(tmp_path: Path, row: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, [*ROWS, row])
    assert str(caught.value) == f"{tmp_path / NAME}, line 10: {words}"


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda file: file.unlink(), r"no file steam-200k\.csv\* \(the folder holds nothing\)"),
        (lambda file: file.write_bytes(b""), "the file is empty"),
        (lambda file: file.write_bytes(b"\n\n"), "there is no row"),
        (lambda file: file.write_bytes("1,Ü,play,2,0\n".encode("latin-1")), "line 1: not utf-8 text"),
        (lambda file: file.with_name(f"{NAME}.gz").touch(), r"2 files match steam-200k\.csv\* where one belongs"),
        (lambda file: file.rename(file.with_name(f"{NAME}.gz")), r"damaged or no gzip file \(after line 0\)"),
    ],
)
def test_missing_damaged_and_surplus_files_are_named(
    tmp_path: Path, break_it: Callable[[Path], None], words: str
) -> None:
    read(tmp_path, ROWS)
    break_it(tmp_path / NAME)
    with pytest.raises(InputError, match=words):
        Games().read(tmp_path, None)


def test_a_cut_archive_is_damaged(tmp_path: Path) -> None:
    noise = io.StringIO()
    for at, value in enumerate(np.random.default_rng(0).integers(0, 10**9, 5000).tolist()):
        noise.write(f"{value},Game {value % 977},play,{at}.5,0\n")
    packed = gzip.compress(noise.getvalue().encode())
    (tmp_path / f"{NAME}.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(InputError, match=r"damaged or no gzip file \(after line [1-9][0-9]+\)"):
        Games().read(tmp_path, None)


def test_graph_is_refused(tmp_path: Path) -> None:
    read(tmp_path, ROWS)
    with pytest.raises(InputError, match=r"data\.graph: nothing links the items of Steam-200k to a knowledge graph"):
        Games().read(tmp_path, tmp_path)
