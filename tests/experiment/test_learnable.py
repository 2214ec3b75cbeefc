"""Data of which nothing can be learned is refused in one line, before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.recipe import load_recipe


def changed(folder: Path, change: Callable[[list[str]], list[str] | None]) -> None:
    """Change the fields of all ratings; None leaves one out."""
    for name in ("u1.base", "u1.test"):
        fields = (change(line.split("\t")) for line in (folder / name).read_text().splitlines())
        (folder / name).write_text("".join("\t".join(row) + "\n" for row in fields if row))


def refusal(folder: Path, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        prepare(load_recipe("movies", ["signals.graph=false", *overrides], {"data.path": str(folder)}))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_labels_that_are_all_equal_are_refused(movielens_folder: Path) -> None:
    changed(movielens_folder, lambda row: [*row[:2], "4", row[3]])
    assert "training labels of MovieLens-100K are 4: there is nothing to learn" in refusal(movielens_folder)


def test_clicks_that_are_all_equal_are_refused_with_the_threshold(movielens_folder: Path) -> None:
    changed(movielens_folder, lambda row: [*row[:2], str(max(4, int(row[2]))), row[3]])
    told = refusal(movielens_folder, "head={name: click, threshold: 3.0}")
    assert told.startswith("head click: all ")
    assert told.endswith("choose another data.split or head.threshold")


@pytest.mark.parametrize(("at", "what"), [(0, "user"), (1, "item")])
def test_one_user_or_item_alone_is_refused(movielens_folder: Path, at: int, what: str) -> None:
    changed(movielens_folder, lambda row: row if row[at] == "7" else None)
    told = refusal(movielens_folder, "data.split=random")
    assert f"interactions are of one {what}: nothing tells {what}s apart; give data of two {what}s or more" in told


def test_empty_part_says_what_to_change(movielens_folder: Path) -> None:
    told = refusal(movielens_folder, "data.valid_fraction=0.0001")
    assert told.startswith("data.split: official leaves no validation interactions of 600: choose a larger")
    told = refusal(movielens_folder, "data.split=random", "data.test_fraction=0.0001")
    assert "no test interactions of 600: choose a larger data.test_fraction or another data.split" in told
