"""Two files of a stranger: proposed, commented, read, refused where they are wrong."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import os
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec_peft.custom.propose import Proposal, propose
from llmrec_peft.data.dataset import columns
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.prepare import prepare, read_dataset
from llmrec_peft.recipe import Recipe, load_recipe
from llmrec_peft.recipe.yaml_file import parse_yaml


def write_pair(folder: Path, users: int = 40, items: int = 60, each: int = 12) -> tuple[Path, Path]:
    """A stranger's pair: semicolons, a byte order mark, quoted line breaks, leading zeros, decimal commas, entities."""
    draw = random.Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["Kundennummer;Artikelnummer;Bewertung;Datum"]
    for user in range(users):
        for item in draw.sample(range(items), each):
            stars = str(draw.choice([1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5])).replace(".", ",")
            rows.append(f"{user:05d};{item:04d};{stars};{draw.randint(1, 28):02d}.{draw.randint(1, 12):02d}.2023")
    ratings = folder / "bewertungen.csv"
    ratings.write_bytes(("\ufeff" + "\r\n".join(rows) + "\r\n").encode())
    rows = ["Artikelnummer;Titel;Beschreibung;Kategorie;Preis"]
    for item in range(items):
        text = f"Ein Buch über die See &amp; den Wind\r\nim Hafen Nummer {item}; mit Karte"
        kind = draw.choice(["Roman|See", "Krimi", "Lyrik|See"])
        rows.append(f'{item:04d};"Band {item}: ""Die See""";"{text}";{kind};{item},5')
    books = folder / "artikel.csv"
    books.write_bytes("\r\n".join(rows).encode("latin-1"))
    return ratings, books


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return write_pair(tmp_path / "data")


def test_a_strangers_pair_is_understood_whole(pair: tuple[Path, Path]) -> None:
    proposal = propose(*pair)
    options = proposal.recipe.data.options
    assert options is not None
    plain = options.model_dump()
    assert plain["feedback"] == "rating"
    assert plain["scale"] == (1.0, 5.0)
    assert (plain["interactions"]["delimiter"], plain["interactions"]["decimal"]) == (";", ",")
    assert (plain["interactions"]["user"], plain["interactions"]["item"]) == ("Kundennummer", "Artikelnummer")
    assert (plain["interactions"]["time"], plain["interactions"]["time_form"]) == ("Datum", "day-first")
    assert plain["items"]["title"] == "Titel"
    assert plain["items"]["texts"] == {"beschreibung": "Beschreibung"}
    assert plain["items"]["numbers"] == {"preis": "Preis"}
    assert proposal.recipe.data.split == "temporal"
    data = read_dataset(proposal.recipe.data)
    first = {name: values[0] for name, values in columns(data.items).items()}
    assert first["item_id"] == "0000"
    assert first["title"] == 'Band 0: "Die See"'
    assert " ".join(first["beschreibung"].split()).startswith("Ein Buch über die See & den Wind im Hafen Nummer 0;")
    assert first["preis"] == 0.5
    assert columns(data.interactions)["user_id"][0] == "00000"
    prepared = prepare(proposal.recipe)
    assert len(prepared.split.test) > 0
    assert "Kategorie" in prepared.recipe.views.item.template


def test_the_recipe_says_what_it_was_made_of(pair: tuple[Path, Path]) -> None:
    proposal = propose(*pair)
    assert Recipe.from_plain(parse_yaml(proposal.text, "text")) == proposal.recipe
    assert "Kundennummer  # its name" in proposal.text
    assert "# interactions  'Bewertung'" in proposal.text
    assert proposal.plain()["recipe"] == proposal.recipe.plain()
    assert propose(*pair).text == proposal.text


def test_recipe_of_files_can_be_written_and_read_again(pair: tuple[Path, Path], tmp_path: Path) -> None:
    proposal = propose(*pair)
    file = tmp_path / "mine.yaml"
    file.write_text(proposal.recipe.to_yaml(), encoding="utf-8")
    assert load_recipe(str(file)) == proposal.recipe
    changed = load_recipe(str(file), ["data.options.interactions.time=null"])
    assert changed.plain()["data"]["options"]["interactions"]["time"] is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data.options.interactions.delimiter": "ab"}, r"data\.options\.interactions\.delimiter: "),
        ({"data.options.interactions.user": None}, r"data\.options\.interactions\.user: "),
        ({"data.options.interaction": {}}, r"unknown field 'data\.options\.interaction': did you mean 'interactions'"),
        ({"data.options.items.titel": "x"}, r"unknown field 'data\.options\.items\.titel': did you mean 'title'"),
        (
            {"data.options.interactions.file": "../x.csv"},
            r"data\.options\.interactions\.file: .*leads out of data\.path",
        ),
        ({"data.options.interactions.file": "/etc/passwd"}, r"data\.options\.interactions\.file: .*leads out"),
        ({"data.options.items.texts": {"{{ 7 }}": "x"}}, r"data\.options\.items\.texts"),
        ({"data.options": 3}, r"data\.options: expected a block"),
    ],
)
def test_wrong_options_are_named_by_their_field(pair: tuple[Path, Path], change: dict[str, Any], said: str) -> None:
    recipe = propose(*pair).recipe
    with pytest.raises(InputError, match=said):
        recipe.changed(change)


def test_options_of_a_reader_without_any_are_refused() -> None:
    with pytest.raises(InputError, match=r"data\.options: reader 'collm-ml-1m' has no options"):
        load_recipe("collm-ml-1m", changes={"data.options": {"interactions": {}}})
    assert "options" not in load_recipe("collm-ml-1m").plain()["data"]


def test_files_cannot_lead_out_of_their_folder(pair: tuple[Path, Path], tmp_path: Path) -> None:
    recipe = propose(*pair).recipe
    outside = tmp_path / "outside.csv"
    outside.write_bytes(pair[0].read_bytes())
    pair[0].unlink()
    pair[0].symlink_to(outside)
    with pytest.raises(InputError, match=r"data\.options\.interactions\.file: .*leads out of"):
        read_dataset(recipe.data)
    pair[0].unlink()
    os.mkfifo(pair[0])
    with pytest.raises(InputError, match=r"bewertungen\.csv.*FIFO"):
        read_dataset(recipe.data)


def test_reader_says_what_is_missing(pair: tuple[Path, Path]) -> None:
    recipe = propose(*pair).recipe
    with pytest.raises(InputError, match=r"data\.path: name the folder that your files lie in"):
        read_dataset(recipe.changed({"data.path": None}).data)
    with pytest.raises(
        InputError, match=r"interactions\.file: elsewhere/bewertungen\.csv is missing; data\.path is relative"
    ):
        read_dataset(recipe.changed({"data.path": "elsewhere"}).data)
    with pytest.raises(InputError, match=r"data\.options\.interactions\.label: bewertungen\.csv has no column 'stars'"):
        read_dataset(recipe.changed({"data.options.interactions.label": "stars"}).data)
    with pytest.raises(InputError, match=r"data\.options\.interactions\.file, .*: Fields required"):
        read_dataset(recipe.changed({"data.options": None}).data)
    with pytest.raises(InputError, match=r"data\.graph"):
        read_dataset(recipe.changed({"data.graph": "x"}).data)


def test_what_is_left_out_is_noted(tmp_path: Path) -> None:
    lines = ["user,item,rating", ",a,3", "u1,,4", "u1,a,", "u1,b,5", "u2,a,1", "u2, b ,2", "u3,zz,4", "u3,a,4"]
    (tmp_path / "r.csv").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "i.csv").write_text("item,title\na,Apple\nb,Pear\nb,Pear again\nc,Plum\n,Nobody\n", encoding="utf-8")
    data = read_dataset(propose(tmp_path / "r.csv", tmp_path / "i.csv").recipe.data)
    assert columns(data.items)["item_id"] == ["a", "b", "c", "zz"]
    assert columns(data.items)["title"] == ["Apple", "Pear", "Plum", ""]
    assert columns(data.interactions)["item_id"] == ["b", "a", "b", "zz", "a"]
    assert "1 of 8 interactions have no user: they were left out" in data.notes
    assert any("1 items of interactions have no row in i.csv" in note for note in data.notes)
    assert any("1 rows of i.csv repeat the id" in note for note in data.notes)
    assert any("1 rows of i.csv have no id" in note for note in data.notes)


def test_hostile_names_and_cells_stay_harmless(tmp_path: Path) -> None:
    draw = random.Random(0)
    lines = ["user id,item id,stars"]
    lines += [f"u{user},i{item},{draw.randint(1, 5)}" for user in range(20) for item in draw.sample(range(30), 8)]
    (tmp_path / "r.csv").write_text("\n".join(lines), encoding="utf-8")
    header = 'item id,{{ 7*7 }},"{% raw %}",no,a: b # c,"Release Year"'
    cells = [f"x: [1] # no: {{{{ n{n} }}}} \u202e text {n} of many words" for n in range(30)]
    rows = [f"i{n},{cells[n]},{draw.choice(['k1', 'k2'])},{n},{n % 3},{1990 + n}" for n in range(30)]
    (tmp_path / "i.csv").write_text("\n".join([header, *rows]), encoding="utf-8")
    proposal = propose(tmp_path / "r.csv", tmp_path / "i.csv")
    assert "\u202e" not in proposal.text
    prepared = prepare(proposal.recipe)
    text = prepared.texts[prepared.vocabulary.items.index("i3") + 1]
    assert "{{ n3 }}" in text
    assert "49" not in text.split()


@pytest.mark.parametrize("packed", [False, True])
def test_options_of_the_form_are_the_users(tmp_path: Path, packed: bool) -> None:
    text = "\n".join(f"{1 + n % 7}x{100 + n % 11}x{1 + n % 5}" for n in range(200)).encode()
    file = tmp_path / ("r.txt.gz" if packed else "r.txt")
    file.write_bytes(gzip.compress(text) if packed else text)
    given = {"interactions.columns": ["user", "item", "stars"], "header": False, "user_column": "user"}
    if not packed:
        with pytest.raises(InputError, match="unknown option 'delimeter': did you mean 'delimiter'"):
            propose(file, given={**given, "delimeter": "x"})
    text = text.replace(b"x", b"|")
    file.write_bytes(gzip.compress(text) if packed else text)
    found = propose(file, given={**given, "name": "mine", "delimiter": "|"})
    assert (found.recipe.name, found.recipe.head.name) == ("mine", "rating")


@pytest.mark.parametrize("timed", [False, True])
def test_rankings_say_what_was_measured_of_an_adapter(tmp_path: Path, timed: bool) -> None:
    draw = random.Random(0)
    lines = ["user id,item id" + ",timestamp" * timed]
    for user in range(20):
        for item in draw.sample(range(30), 8):
            lines.append(f"u{user},i{item}" + f",{1_700_000_000 + draw.randrange(10**6)}" * timed)
    (tmp_path / "r.csv").write_text("\n".join(lines), encoding="utf-8")
    titles = [f"i{n},The thing called {n}" for n in range(30)]
    (tmp_path / "i.csv").write_text("\n".join(["item id,title", *titles]), encoding="utf-8")
    proposal = propose(tmp_path / "r.csv", tmp_path / "i.csv")
    assert proposal.recipe.adapter.method == "none"
    assert ("history" if timed else "text") in proposal.recipe.signals.active
    said = " ".join(line.strip("# ") for line in proposal.text.splitlines())
    assert ("MicroLens's titles" in said, "Last.fm's names of artists" in said) == (timed, not timed)


REAL = {
    "filmtrust": (("filmtrust/ratings.txt",), "rating", "random", "none"),
    "steam": (("steam-200k/steam-200k.csv.gz",), "ranking", "leave-last-out", "none"),
    "lastfm": (("lastfm-hetrec/user_artists.dat", "lastfm-hetrec/artists.dat"), "ranking", "leave-last-out", "none"),
    "microlens": (
        ("microlens-sample/MicroLens-100k_pairs.csv", "microlens-sample/MicroLens-100k_title_en.csv"),
        "ranking",
        "leave-last-out",
        "none",
    ),
    "movielens": (("ml-100k/u.data", "ml-100k/u.item", "ml-100k/u.user"), "rating", "temporal", "lora"),
}


def of_real(shared_data: Path, name: str) -> Proposal:
    return propose(*(shared_data / file for file in REAL[name][0]))


@pytest.mark.trains
@pytest.mark.parametrize("name", REAL)
def test_published_files_are_understood(shared_data: Path, name: str) -> None:
    _, head, split, adapter = REAL[name]
    proposal = of_real(shared_data, name)
    recipe = proposal.recipe
    assert (recipe.head.name, recipe.data.split, recipe.adapter.method) == (head, split, adapter)
    data = prepare(recipe).dataset
    sizes = {"filmtrust": (1508, 2071, 35_494), "steam": (12_393, 5153, 128_801), "lastfm": (1892, 17_632, 92_834)}
    sizes |= {"microlens": (5986, 19_738, 14_628), "movielens": (943, 1682, 100_000)}
    assert (len(data.users), len(data.items), len(data.interactions)) == sizes[name]
    wanted = {"filmtrust": (0.5, 4.0), "movielens": (1.0, 5.0)}
    assert data.rating_range == wanted.get(name, (0.0, 1.0))


def test_parquet_and_json_lines_keep_their_types(tmp_path: Path) -> None:
    draw = random.Random(0)
    pairs = [(user, item) for user in range(20) for item in draw.sample(range(30), 8)]
    day = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    table = pa.table(
        {
            "user_id": pa.array([user for user, _ in pairs], pa.int32()),
            "item_id": [f"{item:03d}" for _, item in pairs],
            "stars": pa.array([draw.randint(1, 5) for _ in pairs], pa.int8()),
            "when": [day + dt.timedelta(hours=at) for at in range(len(pairs))],
        }
    )
    pq.write_table(table, tmp_path / "r.parquet")
    lines = [
        {"item_id": f"{n:03d}", "name": f"Thing {n}", "tags": ["a", "b"][: n % 3], "year": 1990 + n} for n in range(30)
    ]
    (tmp_path / "i.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    recipe = propose(tmp_path / "r.parquet", tmp_path / "i.jsonl").recipe
    assert (recipe.head.name, recipe.data.split) == ("rating", "temporal")
    data = read_dataset(recipe.data)
    assert columns(data.interactions)["timestamp"][1] == 1_704_067_200 + 3600
    assert columns(data.users)["user_id"][:2] == ["0", "1"]
    assert columns(data.items)["tags"][:3] == [[], ["a"], ["a", "b"]]
    assert columns(data.items)["year"][0] == 1990


def test_equal_titles_and_histories_pass_and_no_other_leak_does(tmp_path: Path) -> None:
    rows = [f"u{user},i{(user + at) % 20},{1_600_000_000 + at}" for user in range(40) for at in range(8)]
    plays, titles = tmp_path / "plays.csv", tmp_path / "titles.csv"
    plays.write_text("\n".join(["user,item,time", *rows]), encoding="utf-8")
    titles.write_text("\n".join(["item,title", *(f"i{item},Song {item % 10}" for item in range(20))]), encoding="utf-8")
    proposal = propose(plays, titles)
    assert proposal.recipe.head.name == "ranking"
    assert "allow_leakage: [same_text, same_history]" in proposal.text
    far = [row for row in rows if not row.startswith("u7,")] + [f"u7,i{item},{item}" for item in range(20)]
    plays.write_text("\n".join(["user,item,time", *far]), encoding="utf-8")
    assert {leak.name for leak in prepare(proposal.recipe).leaks} == {"same_text", "same_history"}
    with pytest.raises(InputError, match="another item of the same text stands in its history"):
        prepare(proposal.recipe.changed({"data.allow_leakage": ["same_history"]}))
    assert not proposal.recipe.data.lets_pass("same_pair") and not proposal.recipe.data.lets_pass("own_item")
