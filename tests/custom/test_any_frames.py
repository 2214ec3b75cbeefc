"""Whatever frames hold, they become a sound dataset and a recipe that renders, or are refused in one line."""

from __future__ import annotations

import datetime as dt
import random
from typing import Any

import pytest

from llmrec_peft.custom.dataset import Dataset
from llmrec_peft.data.rows import Rows
from llmrec_peft.data.soundness import sound
from llmrec_peft.data.views import ViewTemplate
from llmrec_peft.errors import InputError

NAMES = (
    "user item user_id movieId rating stars clicked plays timestamp date title name genre text id a b col1 0 no".split()
)
NAMES += ["{{ x }}", "Größe", "书名", "item id", "", " ", "x" * 300, "a|b", "user\u202eid", "None", "for"]
TEXTS = [
    "",
    " ",
    "a",
    "007",
    "7",
    "7.0",
    "-1",
    "1e400",
    "nan",
    "NULL",
    "2020-01-01",
    "01/02/2020",
    "x|y|z",
    '["a"]',
    "[",
    "ü书",
]
TEXTS += [
    "&amp; <b>x",
    "a long text of many words that goes on and on",
    "{{ 7 }}",
    "\x00",
    "\ud83d\ude00",
    "0" * 500,
    "٣",
    "1,5",
]


def values(draw: random.Random, size: int) -> list[Any]:
    kind = draw.randrange(12)
    few = [draw.choice(TEXTS) for _ in range(draw.randint(1, 4))]
    makers: list[Any] = [
        lambda: draw.choice(TEXTS),
        lambda: draw.choice(few),
        lambda: f"u{draw.randrange(9)}",
        lambda: draw.randrange(9),
        lambda: draw.randint(1, 5),
        lambda: draw.choice([0, 1]),
        lambda: draw.uniform(-1e300, 1e300),
        lambda: draw.choice([True, False]),
        lambda: dt.datetime(1, 1, 1) + dt.timedelta(days=draw.randrange(3_000_000)),
        lambda: [draw.choice(TEXTS) for _ in range(draw.randrange(3))],
        lambda: {"x": draw.randrange(3)},
        lambda: draw.randrange(-(2**63), 2**63),
    ]
    gaps = draw.choice([0.0, 0.0, 0.2, 1.0])
    return [None if draw.random() < gaps else makers[kind]() for _ in range(size)]


def frame(draw: random.Random) -> dict[str, list[Any]]:
    size = draw.choice([0, 1, 2, 30, 30, 30])
    names = draw.sample(NAMES, draw.randint(0, 6))
    made = {name: values(draw, size) for name in names}
    if draw.random() < 0.7:
        made |= {
            "user_id": [f"u{draw.randrange(8)}" for _ in range(size)],
            "item_id": [str(draw.randrange(9)) for _ in range(size)],
        }
    return made


@pytest.mark.parametrize("seed", range(150))
def test_any_frames_are_a_dataset_or_refused(seed: int) -> None:
    draw = random.Random(seed)
    tables = [frame(draw), frame(draw) if draw.random() < 0.7 else None, frame(draw) if draw.random() < 0.3 else None]
    try:
        data = Dataset.from_frames(*tables)
    except InputError as error:
        assert "\n" not in str(error)
        return
    assert "\u202e" not in repr(data)
    try:
        dataset = sound(data.dataset)
    except InputError as error:
        assert "zero byte" in str(error) or "infinite" in str(error)
        return
    recipe = data.recipe()
    ViewTemplate(recipe.views.item.template).render_all(Rows(dataset.items).known())


def test_most_frames_of_the_test_are_no_mere_refusals() -> None:
    made = 0
    for seed in range(60):
        draw = random.Random(seed)
        try:
            Dataset.from_frames(frame(draw), frame(draw) if draw.random() < 0.7 else None)
        except InputError:
            continue
        made += 1
    assert made >= 10
