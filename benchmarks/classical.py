"""A strong classical baseline of MovieLens-100K's official split: a Bayesian factorization machine without any text.

myFM (ordered probit, Gibbs sampling) reads who rated what; a second variant also age, sex and occupation of users and
genres of films, a third also the day of the rating. Nothing is chosen: rank and sweeps are fixed. It needs the extra
`classical` (`pip install "llmrec-peft[classical]"`).

    python benchmarks/classical.py --data DIR        # DIR holds ml-100k; writes benchmarks/results/classical.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from myfm import MyFMOrderedProbit, RelationBlock
from numpy.typing import NDArray
from scipy import sparse

from llmrec_peft.artifact.hardware import hardware, versions

RESULTS = Path(__file__).parent / "results" / "classical.json"
RANK, SWEEPS, DISCARDED = 10, 300, 50
SEEDS = (1, 2, 3)
DAY = 86_400
VARIANTS: Mapping[str, tuple[bool, bool]] = {
    "who rated what": (False, False),
    "with columns of users and films": (True, False),
    "with columns and the day of the rating": (True, True),
}
"""By variant: whether columns of users and films are read, and whether days are."""


@dataclass(frozen=True)
class Ratings:
    """One file of ratings: user, item, stars and day, int64 [n] each."""

    user: NDArray[np.int64]
    item: NDArray[np.int64]
    stars: NDArray[np.int64]
    day: NDArray[np.int64]

    @classmethod
    def read(cls, path: Path) -> Ratings:
        """Read ``u1.base`` or ``u1.test``."""
        user, item, stars, seconds = np.loadtxt(path, dtype=np.int64, delimiter="\t").T
        return cls(user, item, stars, seconds // DAY)


@dataclass(frozen=True)
class Block:
    """Features of all users, or of all films.

    Attributes:
        row: Row of each id.
        features: One row an id.
        groups: Columns of each group of features; a group has a prior of its own.
    """

    row: Mapping[int, int]
    features: sparse.csr_matrix
    groups: list[int]

    def of(self, ids: NDArray[np.int64]) -> RelationBlock:
        """Return the block as the features of some ratings."""
        return RelationBlock(np.array([self.row[one] for one in ids.tolist()]), self.features)


def main() -> None:
    """Train each variant with each seed, print test RMSE, and write it down with the hardware."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds ml-100k")
    folder = parser.parse_args().data / "ml-100k"
    report = {
        "name": "classical",
        "date": date.today().isoformat(),
        "model": f"myFM, ordered probit, rank {RANK}, {SWEEPS} sweeps, the first {DISCARDED} left out",
        "data": "MovieLens-100K, official split u1",
        "hardware": hardware("cpu"),
        "versions": {**versions(), "myfm": version("myfm")},
        "rows": [measure(folder, name, seed) for name in VARIANTS for seed in SEEDS],
    }
    RESULTS.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def measure(folder: Path, variant: str, seed: int) -> dict[str, Any]:
    """Train one variant on the whole training part and return its test RMSE."""
    train, test = (Ratings.read(folder / f"u1.{part}") for part in ("base", "test"))
    columns, days = VARIANTS[variant]
    users, films = blocks(folder, train, columns)
    known = np.unique(train.day)
    began = time.perf_counter()
    model = MyFMOrderedProbit(rank=RANK, random_seed=seed)
    model.fit(
        one_hot(train.day, known) if days else None,
        train.stars - 1,
        X_rel=[users.of(train.user), films.of(train.item)],
        n_iter=SWEEPS,
        n_kept_samples=SWEEPS - DISCARDED,
        group_shapes=[*([len(known)] if days else []), *users.groups, *films.groups],
    )
    probability = model.predict_proba(
        one_hot(test.day, known) if days else None, X_rel=[users.of(test.user), films.of(test.item)]
    )
    error = probability @ np.arange(1, probability.shape[1] + 1) - test.stars
    row = {
        "variant": variant,
        "seed": seed,
        "rmse": float(np.sqrt(np.mean(error**2))),
        "mae": float(np.mean(np.abs(error))),
        "seconds": round(time.perf_counter() - began, 1),
    }
    print(f"{variant}, seed {seed}: test RMSE {row['rmse']:.4f}, {row['seconds']:.0f} s", flush=True)
    return row


def one_hot(values: NDArray[np.int64], known: NDArray[np.int64]) -> sparse.csr_matrix:
    """Return one column a known value; a value that training does not know has none."""
    place = np.searchsorted(known, values).clip(max=len(known) - 1)
    rows = np.flatnonzero(known[place] == values)
    return sparse.csr_matrix((np.ones(len(rows)), (rows, place[rows])), (len(values), len(known)))


def blocks(folder: Path, train: Ratings, columns: bool) -> tuple[Block, Block]:
    """Return the features of users and of films: id, partners in training, and the owner's columns if wanted."""
    people = [line.split("|") for line in (folder / "u.user").read_text(encoding="utf-8").splitlines()]
    films = [line.split("|") for line in (folder / "u.item").read_text(encoding="latin-1").splitlines()]
    by_user, by_film = defaultdict(list), defaultdict(list)
    for user, film in zip(train.user.tolist(), train.item.tolist(), strict=True):
        by_user[user].append(film)
        by_film[film].append(user)
    of_user = {int(row[0]): [f"age {int(row[1]) // 10}", f"sex {row[2]}", f"occupation {row[3]}"] for row in people}
    of_film = {int(row[0]): [f"genre {at}" for at, flag in enumerate(row[5:]) if flag == "1"] for row in films}
    nothing: dict[int, list[str]] = {}
    return (
        _block(list(of_user), by_user, of_user if columns else nothing),
        _block(list(of_film), by_film, of_film if columns else nothing),
    )


def _block(ids: Sequence[int], partners: Mapping[int, list[int]], words: Mapping[int, list[str]]) -> Block:
    """Return one row an id: 1 for itself, 1 / √n for each of its n partners in training, 1 for each word."""
    partner = _places(other for one in ids for other in partners.get(one, ()))
    word = _places(text for one in ids for text in words.get(one, ()))
    entries = [
        (at, place, value)
        for at, one in enumerate(ids)
        for place, value in (
            (at, 1.0),
            *((len(ids) + partner[other], len(partners[one]) ** -0.5) for other in partners.get(one, ())),
            *((len(ids) + len(partner) + word[text], 1.0) for text in words.get(one, ())),
        )
    ]
    rows, columns, values = zip(*entries, strict=True)
    groups = [size for size in (len(ids), len(partner), len(word)) if size]
    features = sparse.csr_matrix((values, (rows, columns)), (len(ids), sum(groups)))
    return Block({one: at for at, one in enumerate(ids)}, features, groups)


def _places(values: Iterable[Any]) -> dict[Any, int]:
    return {value: at for at, value in enumerate(dict.fromkeys(values))}


if __name__ == "__main__":
    main()
