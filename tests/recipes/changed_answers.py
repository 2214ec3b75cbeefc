"""Files of each reader with other answers in their test rows: what nothing that is learnt from may notice."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Collection
from pathlib import Path

Pairs = Collection[tuple[str, str]]
"""User and item ids of the test rows."""
Change = Callable[[Path, Pairs], int]
"""Changes the answers in a folder's files; returns how many rows it changed."""


def changed_lines(file: Path, change: Callable[[str], str]) -> int:
    """Change the lines of a text file, packed or not; return how many became other ones."""
    packed = file.suffix == ".gz"
    data = gzip.decompress(file.read_bytes()) if packed else file.read_bytes()
    lines = data.decode("utf-8").split("\n")
    others = [change(line) if line else line for line in lines]
    told = "\n".join(others).encode("utf-8")
    file.write_bytes(gzip.compress(told, 1) if packed else told)
    return sum(one != other for one, other in zip(lines, others, strict=True))


def movies(folder: Path, test: Pairs) -> int:
    """Turn the stars of test rows round, in both files of MovieLens-100K: not every recipe keeps the owner's parts."""
    turned = [of_pairs(file, "\t", lambda stars: str(6 - int(stars))) for file in ("u1.base", "u1.test")]
    return sum(change(folder, test) for change in turned)


def amazon(folder: Path, test: Pairs) -> int:
    """Turn the stars of test reviews round, and write other reviews."""

    def turned(line: str) -> str:
        told = json.loads(line)
        if (told["reviewerID"], told["asin"]) not in test:
            return line
        other = {"overall": 6.0 - told["overall"], "reviewText": "It is not what you think.", "summary": "Odd"}
        return json.dumps({**told, **other})

    [file] = folder.glob("*_5.json.gz")
    return changed_lines(file, turned)


def tallrec(folder: Path, test: Pairs) -> int:
    """Turn likes and dislikes of the test records round."""
    records = json.loads((folder / "test.json").read_text(encoding="utf-8"))
    for record in records:
        record["output"] = "No." if record["output"].startswith("Yes") else "Yes."
    (folder / "test.json").write_text(json.dumps(records), encoding="utf-8")
    return len(records)


def collm(folder: Path, test: Pairs) -> int:
    """Turn the labels of the test records round."""

    def turned(line: str) -> str:
        told = json.loads(line)
        return json.dumps({**told, "label": 1 - told["label"]})

    return changed_lines(folder / "test.jsonl", turned)


def scientific(folder: Path, test: Pairs) -> int:
    """Give each user the last item of the next one, which is the test."""
    [file] = folder.glob("am_*_users.tsv")
    rows = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()]
    told = [(user, items.split(" ")) for user, items in rows]
    held = [at for at, (_, items) in enumerate(told) if len(items) > 2]
    last = [told[at][1][-1] for at in held]
    for at, item in zip(held, [*last[1:], last[0]], strict=True):
        told[at][1][-1] = item
    file.write_text("".join(f"{user}\t{' '.join(items)}\n" for user, items in told), encoding="utf-8")
    return len(held)


def news(folder: Path, test: Pairs) -> int:
    """Say that test impressions clicked other ones of the articles that they showed, as many as before."""

    def turned(line: str) -> str:
        number, user, time, history, shown = line.split("\t")
        told = [one.rpartition("-") for one in shown.split(" ")]
        places = [at for at, (item, _, _) in enumerate(told) if (user, item) in test]
        clicks = [told[at][2] for at in places]
        for at, click in zip(places, [*clicks[1:], *clicks[:1]], strict=True):
            told[at] = (told[at][0], "-", click)
        return "\t".join([number, user, time, history, " ".join(map("".join, told))])

    return changed_lines(folder / "behaviors.tsv", turned)


def of_pairs(file: str, delimiter: str, change: Callable[[str], str]) -> Change:
    """Change the third field of the test rows of a file whose first two are user and item."""

    def changed(folder: Path, test: Pairs) -> int:
        def turned(line: str) -> str:
            fields = line.split(delimiter)
            if (fields[0], fields[1]) not in test:
                return line
            end = "\r" if fields[2].endswith("\r") else ""
            return delimiter.join([*fields[:2], change(fields[2].rstrip("\r")) + end, *fields[3:]])

        return changed_lines(folder / file, turned)

    return changed


def games(folder: Path, test: Pairs) -> int:
    """Multiply the hours that test users played test games."""
    file = folder / "steam-200k.csv.gz"
    rows = list(csv.reader(gzip.decompress(file.read_bytes()).decode("utf-8").splitlines()))
    told = [at for at, row in enumerate(rows) if row[2] == "play" and (row[0], row[1]) in test]
    for at in told:
        rows[at][3] = f"{3.0 * float(rows[at][3]):.1f}"
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    file.write_bytes(gzip.compress(text.getvalue().encode("utf-8"), 1))
    return len(told)


def video(folder: Path, test: Pairs) -> int:
    """Say that test rows watched other ones of the test's videos, which their users are not known to have watched."""
    [file] = folder.glob("*_pairs.csv")
    lines = [line.split(",") for line in file.read_text(encoding="utf-8").splitlines()]
    there = {(user, item) for user, item, _ in lines[1:]}
    places = [at for at, (user, item, _) in enumerate(lines) if (user, item) in test]
    items = [lines[at][1] for at in places]
    changed = 0
    for at, item in zip(places, [*items[1:], *items[:1]], strict=True):
        if (lines[at][0], item) not in there:
            there.add((lines[at][0], item))
            lines[at][1] = item
            changed += 1
    file.write_text("".join(f"{','.join(line)}\n" for line in lines), encoding="utf-8")
    return changed


def minionerec(folder: Path, test: Pairs) -> int:
    """Give each test row the next item of the row below it."""
    changed = 0
    for file in folder.glob("*.test.csv*"):
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        rows = list(csv.DictReader(data.decode("utf-8").splitlines(keepends=True)))
        for name in (name for name in rows[0] if name.startswith("item_")):
            column = [row[name] for row in rows]
            for row, value in zip(rows, [*column[1:], column[0]], strict=True):
                row[name] = value
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        data = text.getvalue().encode("utf-8")
        file.write_bytes(gzip.compress(data, 1) if file.suffix == ".gz" else data)
        changed += len(rows)
    return changed


ANSWERS: dict[str, Change] = {
    "movies": movies,
    "ecommerce": amazon,
    "tallrec-movie": tallrec,
    "tallrec-book": tallrec,
    "collm-ml-1m": collm,
    "amazon-scientific": scientific,
    "news": news,
    "games": games,
    "video": video,
    "minionerec": minionerec,
    "music": of_pairs("user_artists.dat", "\t", lambda plays: str(7 * int(plays) + 1)),
    "social": of_pairs("ratings.txt", " ", lambda stars: f"{4.5 - float(stars):g}"),
}
"""What changes the answers in each reader's files."""
REAL = {
    "movies": "ml-100k",
    "ecommerce": "amazon-magazines",
    "tallrec-movie": "tallrec-movie",
    "collm-ml-1m": "collm-ml-1m",
    "amazon-scientific": "iisan-scientific",
    "news": "mind-sample",
    "games": "steam-200k",
    "video": "microlens-sample",
    "minionerec": "minionerec",
    "music": "lastfm-hetrec",
    "social": "filmtrust",
}
"""Folders of real data that the readers read."""
PAIRS_ALONE = frozenset(("social-people", "social-ranking"))
"""Recipes whose files tell nothing but who met what; which rows are test rows depends on all of them."""
CHOSEN = {"minionerec": {"data.options.category": "Industrial_and_Scientific"}}
"""What has to be said of a folder that holds several data sets."""
