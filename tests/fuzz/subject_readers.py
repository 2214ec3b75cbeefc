"""Every shipped reader over damaged files: a dataset that holds together, or one line that names the file."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from fuzz.harness import Attempt
from fuzz.reader_files import READERS, bomb, mutated, replaced, whole_files
from llmrec_peft import registry
from llmrec_peft.data.dataset import RecDataset, column, columns, titles, without_duplicates
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.rows import Rows
from llmrec_peft.data.soundness import sound
from llmrec_peft.data.subset import with_fewer_items
from llmrec_peft.data.views import ViewTemplate
from llmrec_peft.data.vocabulary import Vocabulary
from llmrec_peft.errors import InputError
from llmrec_peft.recipe import load_recipe


def attempts(rng: random.Random, folder: Path) -> Iterator[Attempt]:
    """Damage one file, sometimes two, of one reader's folder at a time."""
    whole = {reader: whole_files(reader) for reader in READERS}
    views = {reader: ViewTemplate(load_recipe(reader.partition(" ")[0]).views.item.template) for reader in READERS}
    number = 0
    while True:
        number += 1
        reader = rng.choice(READERS)
        place = folder / str(number)
        for name, data in whole[reader].items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(data)
        several = min(len(whole[reader]), rng.choice((1, 1, 1, 2)))
        done = [_damaged(place, name, rng) for name in rng.sample(sorted(whole[reader]), several)]
        fewer = rng.choice((None, None, 1, 3))
        call = partial(_read, reader, place, views[reader].render_all, fewer)
        yield Attempt(f"{number} {reader}: {', '.join(done)}", call)
        shutil.rmtree(place, ignore_errors=True)


def _damaged(place: Path, name: str, rng: random.Random) -> str:
    path = place / name
    if not path.is_file() or path.is_symlink():
        return f"{name} as it is"
    if rng.random() < 0.1:
        return f"{name} {replaced(path, rng)}"
    if name.endswith(".gz") and rng.random() < 0.02:
        return f"{name} {bomb(path, rng)}"
    done, data = mutated(path.read_bytes(), name, rng)
    path.write_bytes(data)
    return f"{name} {done}"


def _read(reader: str, place: Path, render: Callable[..., list[str]], fewer: int | None) -> None:
    """Read a folder as training does, and check what came of it."""
    graph = place / "kg" if (place / "kg").is_dir() else None
    try:
        dataset = registry.get("readers", reader.partition(" ")[0])().read(place, graph)
    except InputError as error:
        assert str(place) in str(error), f"no file is named: {error}"
        raise
    dataset = sound(dataset)
    if fewer is not None:
        dataset = with_fewer_items(dataset, fewer, 0)
    try:
        dataset = without_duplicates(dataset)
    except InputError:
        assert fewer is not None, "a reader gave no interactions"
        raise
    require_whole(dataset)
    assert all("None" not in text for text in (*render(Rows(dataset.items).known()), *titles(dataset.items)))


def require_whole(dataset: RecDataset) -> None:
    """Check that ids are unique, indices in range, labels finite, and histories and links of known items."""
    users, items = column(dataset.users, "user_id"), column(dataset.items, "item_id")
    for ids in (users, items):
        assert len(set(ids)) == len(ids)
        assert all(isinstance(one, str) and one.strip() for one in ids)
    vocabulary = Vocabulary.of(users, items)
    numbered = Interactions.of(dataset, vocabulary)
    assert numbered.user.min() >= 1
    assert numbered.user.max() < vocabulary.num_users
    assert numbered.item.min() >= 1
    assert numbered.item.max() < vocabulary.num_items
    low, high = dataset.rating_range
    assert np.isfinite(numbered.label).all()
    assert ((numbered.label >= low) & (numbered.label <= high)).all()
    assert vocabulary.user_ids(numbered.user) == column(dataset.interactions, "user_id")
    assert vocabulary.item_ids(numbered.item) == column(dataset.interactions, "item_id")
    told = columns(dataset.interactions)
    for history, labels in zip(told.get("history", ()), told.get("history_rating", ()), strict=True):
        assert len(history) == len(labels)
        assert set(history) <= set(items)
    if dataset.graph is not None:
        assert set(column(dataset.graph.links, "item_id")) <= set(items)
