"""YAML with comments: whatever stands in values and comments, the values come back and the comments stay comments."""

from __future__ import annotations

import random
import string
from typing import Any

import pytest

from llmrec_peft.custom.commented_yaml import commented_yaml
from llmrec_peft.recipe.yaml_file import parse_yaml

ODD = [
    "no",
    "null",
    "1e3",
    "0x1f",
    "010",
    "~",
    "a: b",
    "# c",
    "{{ x }}",
    "[",
    "*",
    "&a",
    "'",
    '"',
    "-",
    "",
    " x ",
    "é ü 书",
]


def values_of(draw: random.Random, depth: int = 0) -> Any:
    kind = draw.random()
    if kind < 0.3 and depth < 4:
        return {text_of(draw) or "x": values_of(draw, depth + 1) for _ in range(draw.randint(0, 3))}
    if kind < 0.4:
        return [text_of(draw) for _ in range(draw.randint(0, 3))]
    return draw.choice([text_of(draw), draw.randint(-9, 9), draw.random(), True, None])


def text_of(draw: random.Random) -> str:
    if draw.random() < 0.4:
        return draw.choice(ODD)
    letters = string.printable.replace("\x0b", "").replace("\x0c", "") + "äß书\u2028\u202e\x85\ufeff"
    return "".join(draw.choice(letters) for _ in range(draw.randint(0, 40)))


@pytest.mark.parametrize("seed", range(40))
def test_values_come_back_whatever_the_comments_say(seed: int) -> None:
    draw = random.Random(seed)
    values = {f"field{at}": values_of(draw) for at in range(6)}
    comments = {f"field{at}": text_of(draw) + "\n- injected: 1\r\n" + text_of(draw) * 5 for at in range(6)}
    text = commented_yaml(values, comments)
    assert parse_yaml(text, "text") == values
    assert "\u202e" not in text
    assert "\n- injected" not in text
