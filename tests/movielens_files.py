"""Made-up ratings of films in GroupLens' own files."""

from __future__ import annotations

import random
from pathlib import Path


def write_movielens(folder: Path, users: int = 30, items: int = 40, seed: int = 0) -> Path:
    """Write made-up ratings in GroupLens' layout."""
    rng = random.Random(seed)
    folder.mkdir(parents=True)
    genres = ["unknown", "Action", "Comedy", "Drama", *[f"G{n}" for n in range(15)]]
    (folder / "u.genre").write_text("".join(f"{name}|{at}\n" for at, name in enumerate(genres)), encoding="latin-1")
    lines = []
    for item in range(1, items + 1):
        flags = ["0"] * 19
        flags[1 + item % 3] = "1"
        title = f"Caf\u00e9 Number {item}, The (19{50 + item % 50})"
        lines.append("|".join([str(item), title, "01-Jan-1995", "", "http://example.org", *flags]))
    (folder / "u.item").write_text("\n".join(lines) + "\n", encoding="latin-1")
    people = [f"{user}|{20 + user}|{'MF'[user % 2]}|writer|00000" for user in range(1, users + 1)]
    (folder / "u.user").write_text("\n".join(people) + "\n", encoding="latin-1")
    base, test = [], []
    for user in range(1, users + 1):
        for item in rng.sample(range(1, items + 1), 20):
            rating = min(5, max(1, 3 + (user + item) % 3 - 1 + rng.choice([-1, 0, 1])))
            row = f"{user}\t{item}\t{rating}\t{880000000 + rng.randrange(10**6)}"
            (test if rng.random() < 0.2 else base).append(row)
    (folder / "u1.base").write_text("\n".join(base) + "\n", encoding="utf-8")
    (folder / "u1.test").write_text("\n".join(test) + "\n", encoding="utf-8")
    return folder
