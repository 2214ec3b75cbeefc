"""Shop: stars of products, from ratings.csv (user, product, stars, seconds) and products.csv (product, name)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
from llmrec_peft.plugins import InputError, Reader, RecDataset, interactions_table, table

_LOW, _HIGH = 1.0, 5.0


class Shop(Reader):
    """Stars of products, and what the products are called."""

    summary: ClassVar[str] = "stars of a shop's products, with their names"

    def read(self, path: Path, graph: Path | None) -> RecDataset:
        """Read ``ratings.csv`` and ``products.csv``."""
        if graph is not None:
            raise InputError("data.graph: the shop has no knowledge graph")
        file, ratings = path / "ratings.csv", []
        for line, (user, product, stars, seconds) in _rows(file, ("user", "product", "stars", "seconds")):
            try:
                rating, time = float(stars), int(seconds)
            except ValueError as error:
                raise InputError(f"{file}, line {line}: stars and seconds have to be numbers") from error
            if not _LOW <= rating <= _HIGH:
                raise InputError(f"{file}, line {line}: stars have to be {_LOW:g} to {_HIGH:g}")
            ratings.append((user, product, rating, time))
        products = [(product, name) for _, (product, name) in _rows(path / "products.csv", ("product", "name"))]
        return _dataset("shop", ratings, products)

    def demo(self, seed: int) -> RecDataset:
        """Make up products of three kinds; each user likes one kind best."""
        random = np.random.default_rng(seed)
        kinds = ("tea", "coffee", "juice")
        products = [(str(at), f"{kinds[at % 3]} number {at}") for at in range(30)]
        ratings = []
        for user in range(40):
            for product in random.choice(30, size=12, replace=False).tolist():
                liked = product % 3 == user % 3
                stars = random.integers(4, 6) if liked else random.integers(1, 4)
                ratings.append((str(user), str(product), float(stars), int(random.integers(10**6))))
        return _dataset("made-up shop", ratings, products)


def _dataset(name: str, ratings: list[tuple[str, str, float, int]], products: list[tuple[str, str]]) -> RecDataset:
    if not ratings or not products:
        raise InputError(f"{name}: there is no rating, or no product")
    user, item, stars, seconds = zip(*ratings, strict=True)
    return RecDataset(
        name=name,
        interactions=interactions_table(user, item, stars, seconds),
        items=table({"item_id": [row[0] for row in products], "title": [row[1] for row in products]}),
        users=table({"user_id": sorted(set(user))}),
        rating_range=(_LOW, _HIGH),
    )


def _rows(file: Path, names: tuple[str, ...]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Line number and values of each row of a CSV file with a header."""
    if not file.is_file():
        raise InputError(f"{file} is missing")
    with file.open(encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines)
        for row in reader:
            if not all(row.get(name) for name in names):
                raise InputError(f"{file}, line {reader.line_num}: expected the columns {', '.join(names)}")
            yield reader.line_num, tuple(row[name] for name in names)
