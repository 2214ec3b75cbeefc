"""Every registered recipe: its data give no answer away, and nothing that is learnt from knows the test's answers.

Answers of test rows are changed twice: in the data as a reader returns them, for what preparing may leak, and in the
owner's files, for what a reader may leak (a count, a mean, a text made of all rows). Everything that training reads has
to stay as it was, to the last bit.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping
from dataclasses import fields, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from changed_answers import ANSWERS, CHOSEN, PAIRS_ALONE, REAL, Pairs
from datasets import Dataset
from fuzz.reader_files import READERS, whole_files

from llmrec_peft import registry
from llmrec_peft.data.dataset import RecDataset, arrow
from llmrec_peft.experiment.prepare import prepare, read_source
from llmrec_peft.experiment.prepared import Prepared
from llmrec_peft.identity import arrays_digest, values_digest
from llmrec_peft.plugins import Reader, interactions_table, table
from llmrec_peft.recipe import Recipe, load_recipe

RECIPES = tuple(registry.plugins("recipes"))
SMALL = {"data.split": "random", "data.test_fraction": 0.4, "data.valid_fraction": 0.3}
"""A division that few made-up rows allow."""


def learnt_from(prepared: Prepared) -> dict[str, str]:
    """Digests of everything that training, and a refit with validation, read of prepared data, by name."""
    known = prepared.interactions.take(prepared.split.fit)
    arrays = [field.name for field in fields(known) if field.name not in ("history", "row")]
    numbers: dict[str, Any] = {name: getattr(known, name) for name in arrays}
    if known.history is not None:
        told = [known.history.of(row) for row in range(len(known))]
        numbers |= {f"history, {name}": np.concatenate([one[at] for one in told]) for at, name in enumerate("il")}
        numbers["history, length"] = known.history.lengths
    if prepared.neighbours is not None:
        numbers |= {name: getattr(prepared.neighbours, name) for name in ("entity", "relation")}
    numbers |= {name: getattr(prepared.split, name) for name in ("train", "valid")}
    rows = prepared.used_rows[prepared.split.fit[prepared.split.fit < len(prepared.used_rows)]]
    owner = arrow(prepared.dataset.interactions).take(rows)
    links = getattr(prepared.dataset, "user_links", None)
    plain: dict[str, Any] = {
        "links of users": None if links is None else links[:],
        "texts": prepared.texts,
        "wordings": prepared.wordings,
        "titles": prepared.titles,
        "users": [dict(row) for row in prepared.user_rows],
        "items": [dict(row) for row in prepared.item_rows],
        "ids": [prepared.vocabulary.users, prepared.vocabulary.items],
        "scale": prepared.dataset.rating_range,
        **{f"column {name}": owner.column(name).to_pylist() for name in owner.column_names},
    }
    found = {name: arrays_digest([value]) for name, value in numbers.items() if value is not None}
    return found | {name: values_digest(str(value)) for name, value in plain.items()}


def differing(one: Prepared, other: Prepared) -> list[str]:
    """Names of what training reads that differs."""
    first, second = learnt_from(one), learnt_from(other)
    return sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))


def test_pairs(prepared: Prepared) -> Pairs:
    """User and item ids of the test rows that are in no other part."""
    users, items = prepared.ids(prepared.test)
    return set(zip(users, items, strict=True)) - set(zip(*prepared.ids(prepared.learned(True)), strict=True))


test_pairs.__test__ = False  # type: ignore[attr-defined]


def with_other_answers(dataset: RecDataset, prepared: Prepared) -> RecDataset:
    """The data with other labels, items and words in all test rows; users, times and parts stay."""
    whole = arrow(dataset.interactions)
    rows = prepared.used_rows[prepared.split.test]
    columns: dict[str, list[Any]] = {name: whole.column(name).to_pylist() for name in whole.column_names}
    low, high = dataset.rating_range
    taken = set(zip(columns["user_id"], columns["item_id"], strict=True))
    for at, row in enumerate(rows.tolist()):
        columns["rating"][row] = 1.0 if dataset.feedback == "implicit" else low + high - columns["rating"][row]
        other = columns["item_id"][rows[(at + 1) % len(rows)]]
        new = (columns["user_id"][row], other) not in taken and other != columns["user_id"][row]  # people may be items
        if new and "impression" not in columns:
            taken.add((columns["user_id"][row], other))
            columns["item_id"][row] = other
        if "confidence" in columns:
            columns["confidence"][row] = 3.0 * columns["confidence"][row] + 1.0
        for name in ("review", "kind"):
            if name in columns:
                columns[name][row] = f"another {name}"
    made = Dataset.from_dict(columns, features=dataset.interactions.features)
    return replace(dataset, interactions=made)


def demo(name: str) -> Recipe:
    return load_recipe(name, changes={"data.path": "demo"})


@pytest.mark.parametrize("name", RECIPES)
def test_made_up_data_give_nothing_away_but_what_is_let_pass_by_name(name: str) -> None:
    recipe = demo(name)
    assert recipe.data.allow_leakage is not True, "say which kinds are no leaks in this data"
    prepared = prepare(recipe)  # refuses every other leak
    assert {leak.name for leak in prepared.leaks} <= set(recipe.data.allow_leakage or ())


@pytest.mark.parametrize("name", RECIPES)
def test_other_answers_in_test_rows_change_nothing_that_is_learnt_from(name: str) -> None:
    recipe = demo(name).changed({"data.allow_leakage": True})  # other items may stand in a given history
    dataset = read_source(recipe.data)
    before = prepare(recipe, dataset)
    after = prepare(recipe, with_other_answers(dataset, before))
    assert not np.array_equal(before.test.label, after.test.label) or not np.array_equal(
        before.test.item, after.test.item
    )
    assert differing(before, after) == []


def prepared_from(recipe: Recipe, folder: Path, changes: Mapping[str, Any]) -> Prepared:
    return prepare(recipe.changed({"data.path": str(folder), "data.allow_leakage": True, **changes}))


def require_blind(recipe: Recipe, folder: Path, answers: str, changes: Mapping[str, Any] | None = None) -> None:
    """Change the answers in the test rows of a folder's files; fail if anything that is learnt from differs."""
    before = prepared_from(recipe, folder, changes or {})
    assert ANSWERS[answers](folder, test_pairs(before)) > 0, "no answer was changed"
    after = prepared_from(recipe, folder, changes or {})
    assert told(before) != told(after), "the reader does not read what was changed"
    assert differing(before, after) == []


def told(prepared: Prepared) -> dict[str, list[Any]]:
    """What the data say in the test rows, by column."""
    rows = arrow(prepared.dataset.interactions).take(prepared.used_rows[prepared.split.test])
    found: dict[str, list[Any]] = rows.to_pydict()
    return found


def test_every_reader_of_files_has_answers_to_change() -> None:
    readers = {load_recipe(name).data.reader for name in RECIPES}
    assert sorted(readers - ANSWERS.keys()) == [], "say in changed_answers.py where their files have the test's answers"


def small_files(reader: str) -> dict[str, bytes]:
    """Made-up files of a reader with several items, and users, in each part."""
    files = whole_files(reader)
    if reader.startswith("tallrec"):
        for name, data in files.items():
            records = json.loads(data)
            for record in records[::2]:  # asks about the first item that it tells of
                told, target = record["input"].split("\n")[0].split(": ")[1], record["input"].rpartition("target ")[2]
                first = told.partition('", ')[0] if reader == "tallrec-movie" else told.partition(', "')[0]
                subject = target.partition(" ")[0]
                record["input"] = record["input"].replace(target, f'{subject} {first.rstrip(chr(34))}"?')
            files[name] = json.dumps(records).encode()
    if reader == "news":
        lines = [
            f"{at}\tU{at}\t11/{10 + at % 9}/2019 {at % 12 + 1}:00:00 AM\tN1 N2\tN{at % 5}-1 N{(at + 1) % 5}-0"
            for at in range(30)
        ]
        files["behaviors.tsv"] = "".join(f"{line}\n" for line in lines).encode()
    if reader == "video":
        [name] = [name for name in files if name.endswith("_pairs.csv")]
        steps = [(step, user) for step in (0, 1) for user in range(30)]
        rows = [
            f"{user},{(user + step) % 6 + 1},{1_650_000_000_000 + 1_000 * (user + 40 * step)}" for step, user in steps
        ]
        files[name] = "".join(f"{line}\n" for line in ("user,item,timestamp", *rows)).encode()
    return files


@pytest.mark.parametrize("reader", [one for one in READERS if one in ANSWERS and one != "movies"])
def test_a_reader_of_small_files_does_not_look_at_answers(reader: str, tmp_path: Path) -> None:
    for name, data in small_files(reader).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    owner = {"data.expand_histories": False, "data.history": "auto", "data.train_size": "all"}
    split = SMALL if reader == "ecommerce" else {}
    recipe = next(load_recipe(name) for name in RECIPES if load_recipe(name).data.reader == reader)
    require_blind(recipe, tmp_path, reader, {**owner, **split})


@pytest.mark.trains
@pytest.mark.parametrize("name", RECIPES)
def test_readers_of_real_data_do_not_look_at_answers(name: str, shared_data: Path, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    reader = recipe.data.reader
    if name in PAIRS_ALONE:
        pytest.skip("its answers are the pairs themselves, which decide what is held out")
    if reader not in REAL or not (shared_data / REAL[reader]).is_dir():
        pytest.skip(f"no real data for reader {reader}")
    if name != reader and {"-7b", "-smollm2"} & {name.removeprefix(reader)}:
        pytest.skip(f"reads what {reader} reads")
    folder = tmp_path / "data"
    shutil.copytree(shared_data / REAL[reader], folder, copy_function=shutil.copyfile)
    require_blind(recipe, folder, reader, CHOSEN.get(reader))


class Tickets(Reader):
    """Stars of films from ``ratings.csv``; `leaks` tells how the reader looks at the test's answers."""

    summary = "stars"
    leaks: str = ""

    def read(self, path: Path, graph: Path | None) -> RecDataset:
        with (path / "ratings.csv").open(encoding="utf-8", newline="") as lines:
            rows = list(csv.reader(lines))
        films = sorted({row[1] for row in rows})
        told = {film: [float(row[2]) for row in rows if row[1] == film] for film in films}
        items: dict[str, list[Any]] = {"item_id": films, "title": [f"Film {film}" for film in films]}
        if self.leaks == "mean":
            items["mean"] = [sum(told[film]) / len(told[film]) for film in films]
        if self.leaks == "title":
            items["title"] = [f"Film {film}{' of the year' * (max(told[film]) > 4)}" for film in films]
        if self.leaks == "order":
            rows.sort(key=lambda row: (row[0], float(row[2])))
        if self.leaks == "scale":
            stars = [float(row[2]) / max(float(row[2]) for row in rows) for row in rows]
        else:
            stars = [float(row[2]) for row in rows]
        return RecDataset(
            name="tickets",
            interactions=interactions_table(
                [row[0] for row in rows], [row[1] for row in rows], stars, [int(row[3]) for row in rows]
            ),
            items=table(items),
            users=table({"user_id": sorted({row[0] for row in rows})}),
            rating_range=(0.0, 9.0),
        )


@pytest.mark.parametrize(("leaks", "seen"), [("", ""), ("mean", "items"), ("title", "texts"), ("scale", "label")])
def test_a_reader_that_looks_at_answers_is_found_out(
    leaks: str, seen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tickets, "leaks", leaks)
    entry = EntryPoint("tickets", f"{__name__}:Tickets", "llmrec_peft.readers")
    monkeypatch.setitem(registry.plugins("readers"), "tickets", registry.Plugin("readers", "tickets", entry))
    draw = np.random.default_rng(0)
    rows = [(f"u{user}", f"i{item}", draw.integers(1, 5), user + item) for user in range(9) for item in range(7)]
    (tmp_path / "ratings.csv").write_text("".join(f"{u},{i},{s},{t}\n" for u, i, s, t in rows), encoding="utf-8")

    def answers(folder: Path, test: Pairs) -> int:
        told = [(u, i, 5 + s if (u, i) in test else s, t) for u, i, s, t in rows]
        (folder / "ratings.csv").write_text("".join(f"{u},{i},{s},{t}\n" for u, i, s, t in told), encoding="utf-8")
        return len(test)

    monkeypatch.setitem(ANSWERS, "tickets", answers)
    recipe = load_recipe("movies", changes={"data.reader": "tickets", "views.item.template": "{{ title }}", **SMALL})
    if not leaks:
        require_blind(recipe, tmp_path, "tickets")
        return
    with pytest.raises(AssertionError) as caught:
        require_blind(recipe, tmp_path, "tickets")
    assert f"'{seen}'" in str(caught.value)
