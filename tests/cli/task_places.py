"""Places: folders of small made-up data in their owners' formats, and commands typed in them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TITLES = [f"Film Number {number} ({1950 + number})" for number in range(30)]


@dataclass(frozen=True)
class Place:
    """A working folder: ratings `ml`, likes with ids `likes`, records with histories `records`, backbone `enc`."""

    folder: Path

    def edit(self, name: str, change: Callable[[list[dict[str, Any]]], Any]) -> None:
        """Change the records of a JSON or JSON-lines file."""
        path = self.folder / name
        text = path.read_text(encoding="utf-8")
        rows = json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()]
        change(rows)
        lines = json.dumps(rows) if path.suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows)
        path.write_text(lines, encoding="utf-8")


@dataclass(frozen=True)
class Done:
    """What a command left."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


def write_likes(folder: Path) -> None:
    """CoLLM's files: twelve users who judge ten of thirty films each, one after the other."""
    rng = random.Random(1)
    folder.mkdir()
    parts: dict[str, list[dict[str, int]]] = {"train": [], "valid": [], "test": []}
    for user in range(1, 13):
        for place, item in enumerate(rng.sample(range(1, 31), 10)):
            part = "train" if place < 6 else "valid" if place < 8 else "test"
            row = {"uid": user, "iid": item, "label": (user + place) % 2, "timestamp": 86_400 * place + user}
            parts[part].append({**row, "his": [0], "not_cold": 1})  # type: ignore[dict-item]
    for part, rows in parts.items():
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    titles = "".join(f'{item},"{TITLES[item - 1]}"\n' for item in range(1, 31))
    (folder / "item_titles.csv").write_text(f"iid,title\n0,\n{titles}", encoding="utf-8")


def question(liked: Sequence[str], disliked: Sequence[str], target: str, answer: bool) -> dict[str, str]:
    """A record as TALLRec publishes it."""
    told = [", ".join(f'"{title}"' for title in titles) for titles in (liked, disliked)]
    asked = f'Whether the user will like the target movie "{target}"?'
    text = f"User Preference: {told[0]}\nUser Unpreference: {told[1]}\n{asked}"
    return {"instruction": "say", "input": text, "output": "Yes." if answer else "No."}


def write_records(folder: Path) -> None:
    """TALLRec's files: records of twelve films and a question, every fifth without any history."""
    rng = random.Random(2)
    folder.mkdir()
    for part, count in (("train", 40), ("valid", 20), ("test", 20)):
        rows = []
        for place in range(count):
            target, *others = rng.sample(TITLES, 13)
            told = ([], []) if place % 5 == 0 else (others[:6], others[6:])
            rows.append(question(*told, target, place % 2 == 1))
        (folder / f"{part}.json").write_text(json.dumps(rows), encoding="utf-8")


def target_in_its_history(place: Place) -> None:
    place.edit("records/test.json", lambda rows: rows.append(question(TITLES[:3], [], TITLES[1], True)))


def listing(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder, hidden ones included, with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def trained(recipe: str, data: str, *overrides: str) -> list[str]:
    chosen = ["backbone.name=enc", "training.epochs=1", "training.refit=false", "evaluation.bootstrap=0", *overrides]
    settings = [part for one in chosen for part in ("--set", one)]
    return ["train", recipe, "--data", data, "--out", "new", "--quiet", *settings]


def ml(*overrides: str) -> list[str]:
    return trained("movies", "ml", *overrides)


def likes(*overrides: str) -> list[str]:
    return trained("collm-ml-1m", "likes", *overrides)


def records(*overrides: str) -> list[str]:
    return trained("tallrec-movie", "records", *overrides)
