"""What libyaml reads of a recipe is what the strict loader in Python would have read, to the last value."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from llmrec_peft.recipe import yaml_file
from llmrec_peft.recipe.yaml_file import parse_yaml

ROOT = Path(__file__).resolve().parents[2]
TEXTS = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "recipes").rglob("*.yaml"))]
ODD = (
    "0x1f 010 1:30 1_000 .inf .nan ~ null yes on = &a *a !!int !x --- ... [ ] { } - | > @x `x # : , 1e3 -.5 2001-01-01"
    ' "\\u0041" \'it\'\'s\' "\\x00" {a: {a: [b]}} [[[]]] "a'
).split(" ")


def damaged(rng: random.Random) -> str:
    """A few lines of a shipped recipe with odd words and characters in them."""
    lines = rng.choice(TEXTS).split("\n")
    start = rng.randrange(len(lines))
    lines = lines[start : start + rng.randrange(1, 14)]
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(lines))
        name, _, _ = lines[at].partition(":")
        place = rng.randrange(len(lines[at]) + 1)
        lines[at] = rng.choice(
            [f"{name}: {rng.choice(ODD)}", lines[at][:place] + rng.choice(ODD) + lines[at][place:], " " + lines[at]]
        )
    return "\n".join(lines)


@pytest.mark.parametrize("text", TEXTS)
def test_shipped_recipes_are_the_same_by_both(text: str) -> None:
    assert parse_yaml(text, "recipe") == yaml_file._strict(text)


def test_what_libyaml_takes_the_strict_loader_takes_as_the_same_values() -> None:
    rng, taken = random.Random(1), 0
    for _ in range(1500):
        text = damaged(rng)
        values = yaml_file._fast(text)
        if values is not yaml_file._UNREAD:
            taken += 1
            assert repr(values) == repr(yaml_file._strict(text)), text
    assert taken > 100


@pytest.mark.parametrize(
    "text", ["a: &x 1", "a: !!int 3", "a: 0x1f", "a: 1\na: 2", "1: 2", "[" * 30, "a: \u00e9", "a: b?"]
)
def test_what_is_out_of_the_ordinary_is_left_to_the_strict_loader(text: str) -> None:
    assert yaml_file._fast(text) is yaml_file._UNREAD
