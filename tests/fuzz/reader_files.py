"""Small made-up files in the layout of every shipped reader, and mutations of their bytes."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

Files = dict[str, bytes]


def whole_files(reader: str) -> Files:
    """Return the files of a reader's folder by name; a graph's lie in ``kg/``.

    Args:
        reader: The reader and, where it reads several layouts, the layout behind a blank.
    """
    return _MAKERS[reader]()


def _movies() -> Files:
    genres = [f"G{at}|{at}" for at in range(19)]
    items = [
        "|".join([str(at), f"Café {at}, The (19{50 + at})", "01-Jan-1995", "", "http://x", *"01" * 9, "0"])
        for at in range(1, 7)
    ]
    users = [f"{at}|{20 + at}|{'MF'[at % 2]}|writer|00000" for at in range(1, 5)]
    ratings = [
        f"{user}\t{item}\t{1 + (user * item) % 5}\t{880000000 + user * item}"
        for user in range(1, 5)
        for item in range(1, 7)
    ]
    texts = {"u.genre": genres, "u.item": items, "u.user": users, "u1.base": ratings[::2], "u1.test": ratings[1::2]}
    files = {name: _lines(lines).decode().encode("latin-1") for name, lines in texts.items()}
    files["kg/x.kg"] = _lines(["head\trelation\ttail", *(f"m.{at}\tr\tm.{at % 2}" for at in range(1, 7))])
    files["kg/x.link"] = _lines(["item\tentity", *(f"{at}\tm.{at}" for at in range(1, 8))])
    return files


def _movies_1m() -> Files:
    ratings = [
        f"{user}::{item}::{1 + user * item % 5}::{978300000 + item}" for user in range(1, 5) for item in (1, 2, 3)
    ]
    films = [f"{item}::Café {item}, The (1990)::Drama|Children's" for item in (1, 2, 3)]
    users = [f"{user}::{'FM'[user % 2]}::25::{user}::55117" for user in range(1, 5)]
    files = {"ratings.dat": _lines(ratings), "users.dat": _lines(users)}
    return {**files, "movies.dat": _lines(films).decode().encode("latin-1")}


def _movies_25m() -> Files:
    ratings = [
        f"{user},{item},{(1 + user * item % 9) / 2},{978300000 + item}" for user in range(4) for item in (1, 2, 3)
    ]
    films = [f'{item},"Café ""{item}"", The (1990)",Drama|IMAX' for item in (1, 2, 3)]
    return {
        "ratings.csv": _lines(["userId,movieId,rating,timestamp", *ratings]),
        "movies.csv": _lines(["movieId,title,genres", *films]),
    }


def _amazon() -> Files:
    reviews = [
        {
            "reviewerID": f"A{user}",
            "asin": f"B{item}",
            "overall": 1.0 + (user + item) % 5,
            "unixReviewTime": 10**9 + user * item,
            "reviewText": f"Good <b>thing</b> {item} &amp; é",
            "summary": "Good",
        }
        for user in range(4)
        for item in range(4)
    ]
    products = [
        {
            "asin": f"B{item}",
            "title": f"Thing {item}",
            "description": ["One", "two"],
            "category": ["Things", "Toys", f"Kind {item % 2}"],
            "brand": None,
            "also_buy": [f"B{(item + 1) % 4}", "B9"],
        }
        for item in range(4)
    ]
    return {
        "Toys_5.json.gz": gzip.compress(_json_lines(reviews), 1),
        "meta_Toys.json.gz": gzip.compress(_json_lines(products), 1),
    }


def _amazon_2023() -> Files:
    reviews = [
        {
            "user_id": f"A{user}",
            "asin": f"V{item}",
            "parent_asin": f"B{item}",
            "rating": 1.0 + (user + item) % 5,
            "timestamp": 1500000000000 + user * item,
            "title": "Good",
            "text": f"Good <b>thing</b> {item} &amp; é",
        }
        for user in range(4)
        for item in range(4)
    ]
    products = [
        {
            "parent_asin": f"B{item}",
            "title": f"Thing {item}",
            "features": ["One"],
            "description": [],
            "categories": ["Things", "Toys"],
            "main_category": "Toys",
            "store": "Old Mill",
            "average_rating": 4.5,
            "bought_together": None,
        }
        for item in range(4)
    ]
    return {"Toys.jsonl": _json_lines(reviews), "meta_Toys.jsonl.gz": gzip.compress(_json_lines(products), 1)}


def _tallrec(subject: str, *items: str) -> Files:
    def record(at: int) -> dict[str, str]:
        lines = (
            f"User Preference: {items[at % 2]}, {items[2]}",
            f"User Unpreference: {items[3]}" if at % 2 else "User Unpreference: ",
            f"Whether the user will like the target {subject} {items[4]}?",
        )
        return {"instruction": "…", "input": "\n".join(lines), "output": ("Yes.", "No.")[at % 2]}

    return {
        f"{part}.json": json.dumps([record(at) for at in range(4)], indent=1, ensure_ascii=False).encode()
        for part in ("train", "valid", "test")
    }


def _tallrec_movie() -> Files:
    titles = ("Heat 0 (1995)", "Heat 1 (1995)", "Il Postino (1994)", "Alien (1979)", "Film, The (1990)")
    return _tallrec("movie", *(f'"{title}"' for title in titles))


def _tallrec_book() -> Files:
    books = ("Kim", "Emma", 'Café, "Noir"', "Alien &amp; Co.")
    return _tallrec("book", *(f'"{title}" written by A, B' for title in books), '""Kim 2" written by R. Kipling"')


def _collm() -> Files:
    def record(at: int) -> dict[str, object]:
        told = [0, 0, *range(1, 1 + at % 4)]
        return {"uid": at % 3, "iid": 4 + at % 3, "label": at % 2, "timestamp": at, "his": told, "not_cold": at % 2}

    titles = ["iid,title", '0,""', *(f'{at},"Film {at}, The (1990)"' for at in range(1, 7))]
    files = {f"{part}.jsonl": _json_lines([record(at) for at in range(6)]) for part in ("train", "valid", "test")}
    return {**files, "item_titles.csv": _lines(titles)}


def _scientific() -> Files:
    users = [f"U{at}\t{' '.join(f'B{(at + step) % 5}' for step in range(2 + at))}" for at in range(4)]
    items = [f'B{at}\t"Thing ""{at}"" é"' if at % 2 else f"B{at}\tThing {at}" for at in range(5)]
    return {"am_toys_users.tsv": _lines(users), "am_toys_items.tsv": _lines(items)}


def _news() -> Files:
    def named(at: int) -> str:
        return json.dumps([{"Label": f"Ünlü {at}", "Type": "P", "WikidataId": f"Q{at % 2}"}], ensure_ascii=False)

    articles = [
        "\t".join([f"N{at}", "news", f"world{at % 2}", f"Title &amp; {at}", "", "http://x", named(at), "[]"])
        for at in range(5)
    ]
    told = ("", "N1 N2")
    behaviors = [
        f"{at}\tU{at % 3}\t11/{10 + at}/2019 {at + 1}:00:00 AM\t{told[at % 2]}\tN{at % 5}-1 N{(at + 1) % 5}-0"
        for at in range(8)
    ]
    return {"behaviors.tsv": _lines(behaviors), "news.tsv": _lines(articles)}


def _games() -> Files:
    rows = [
        f'{user},"Game ""{game}"", é",{kind},{hours},0'
        for user in range(1, 5)
        for game in range(1 + user)
        for kind, hours in (("purchase", "1.0"), ("play", f"{user * game}.5"))
    ]
    return {"steam-200k.csv.gz": gzip.compress(_lines(rows), 1)}


def _music() -> Files:
    plays = [f"{user}\t{artist}\t{10 * user + artist}" for user in range(1, 5) for artist in range(1, 2 + user)]
    given = [f"{user}\t{artist}\t{1 + artist % 3}\t1\t4\t2009" for user in range(3, 7) for artist in range(1, 6)]
    texts = {
        "user_artists.dat": ["userID\tartistID\tweight", *plays],
        "artists.dat": ["id\tname\turl\tpictureURL", *(f"{at}\tBjörk {at}\thttp://x\t" for at in range(1, 7))],
        "tags.dat": ["tagID\ttagValue", *(f"{at}\tfußball {at}" for at in range(1, 4))],
        "user_taggedartists.dat": ["userID\tartistID\ttagID\tday\tmonth\tyear", *given],
    }
    files = {name: _lines(lines) for name, lines in texts.items()}
    return {**files, "tags.dat": files["tags.dat"].decode().encode("latin-1")}


def _video() -> Files:
    pairs = [f"{user},{item},{1657343260000 + 1000 * item}" for user in range(1, 5) for item in range(1, 3 + user)]
    return {
        "MicroLens-100k_pairs.csv": _lines(["user,item,timestamp", *pairs]),
        "MicroLens-100k_title_en.csv": _lines([f'{at}, A "title", {at} é' for at in range(1, 8)]),
        "MicroLens-100k_title_cn.csv": _lines([f"{at},牛肉面 {at}" for at in range(1, 8)]),
    }


_MAKERS: dict[str, Callable[[], Files]] = {
    "movies": _movies,
    "movies 1M": _movies_1m,
    "movies 25M": _movies_25m,
    "ecommerce": _amazon,
    "ecommerce 2023": _amazon_2023,
    "tallrec-movie": _tallrec_movie,
    "tallrec-book": _tallrec_book,
    "collm-ml-1m": _collm,
    "amazon-scientific": _scientific,
    "news": _news,
    "games": _games,
    "music": _music,
    "video": _video,
}
READERS = tuple(_MAKERS)

ODD = (
    *("", " ", "0", "-1", "1.5", "1e5", "1_0", "nan", "NaN", "inf", "-Infinity", "null", "true", "[]", "{}", '""'),
    *(str(1 << 62), str(1 << 63), "-" + "9" * 30, "9" * 5000, "1e999", "0x10", "１", "+3", "١٢"),
    *(
        "é",
        "\u202e",
        "\x1b[2J",
        "\x7f",
        "a\tb",
        "a|b",
        'a"b',
        "a,b",
        "\u2028",
        "\ufeff",
        "🎬",
        "\\ud800",
        "x" * 100_000,
    ),
    *("[" * 3000, "[feat. X]", "{{ 7 * 7 }}", "../../etc", "00501", "\x00", "\r", "<b", "&#0;", "&#xd800;", "<script>"),
)


def mutated(data: bytes, name: str, rng: random.Random) -> tuple[str, bytes]:
    """Return what was done to a file's bytes, and the result."""
    packed = name.endswith(".gz")
    if packed and rng.random() < 0.7:  # most mutations reach what is packed
        done, plain = mutated(gzip.decompress(data), name.removesuffix(".gz"), rng)
        return f"packed {done}", gzip.compress(plain, 1)
    kind = rng.choice(tuple(_BYTES) if packed or rng.random() < 0.35 else tuple(_TEXT))
    return kind, ({**_BYTES, **_TEXT}[kind])(data, rng)


def _truncated(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _flipped(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data or b"x")
    for _ in range(rng.choice((1, 1, 3, 20))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _garbage(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.choice((1, 8, 500))) + data[at:]


def _reencoded(data: bytes, rng: random.Random) -> bytes:
    text = data.decode("latin-1" if rng.random() < 0.3 else "utf-8", "replace")
    encoding = rng.choice(("utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1", "cp1252", "shift_jis", "utf-7"))
    return text.encode(encoding, "replace")


def _rows(change: Callable[[list[bytes], random.Random], None]) -> Callable[[bytes, random.Random], bytes]:
    def changed(data: bytes, rng: random.Random) -> bytes:
        lines = data.split(b"\n")
        change(lines, rng)
        return b"\n".join(lines)

    return changed


def _field(lines: list[bytes], rng: random.Random) -> None:
    """Replace a field of a line, or a value of its JSON, by something odd."""
    at = rng.randrange(len(lines))
    odd = rng.choice(ODD)
    try:
        record = json.loads(lines[at])
        key = rng.choice(sorted(record))
        if rng.random() < 0.15:
            del record[key]
            lines[at] = json.dumps(record).encode()
        else:
            told = json.dumps({**record, key: "\0"})
            value = odd if rng.random() < 0.5 else json.dumps(odd)
            lines[at] = told.replace('"\\u0000"', value).encode("utf-8", "replace")
    except (ValueError, AttributeError, TypeError, IndexError, RecursionError):
        delimiter = next((one for one in (b"|", b"\t", b'"', b",", b" ") if one in lines[at]), b" ")
        fields = lines[at].split(delimiter)
        fields[rng.randrange(len(fields))] = odd.encode("utf-8", "replace")
        lines[at] = delimiter.join(fields)


def _swapped(lines: list[bytes], rng: random.Random) -> None:
    """Swap two columns, in one line or in all."""
    delimiter = next((one for one in (b"|", b"\t", b",") if one in lines[0]), b" ")
    one, other = rng.randrange(6), rng.randrange(6)
    for at in range(len(lines)) if rng.random() < 0.5 else (rng.randrange(len(lines)),):
        fields = lines[at].split(delimiter)
        if max(one, other) < len(fields):
            fields[one], fields[other] = fields[other], fields[one]
        lines[at] = delimiter.join(fields)


def _doubled(lines: list[bytes], rng: random.Random) -> None:
    lines.insert(rng.randrange(len(lines)), rng.choice(lines))


def _lost(lines: list[bytes], rng: random.Random) -> None:
    del lines[rng.randrange(len(lines))]


_BYTES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "truncate": _truncated,
    "flip": _flipped,
    "empty": lambda data, rng: b"",
    "garbage": _garbage,
    "noise": lambda data, rng: rng.randbytes(rng.choice((1, 100, 5000))),
    "twice": lambda data, rng: data + data,
}
_TEXT: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "field": _rows(_field),
    "another field": _rows(_field),
    "two fields": lambda data, rng: _rows(_field)(_rows(_field)(data, rng), rng),
    "swap columns": _rows(_swapped),
    "double row": _rows(_doubled),
    "lose row": _rows(_lost),
    "shuffle rows": _rows(lambda lines, rng: rng.shuffle(lines)),
    "encoding": _reencoded,
    "mark": lambda data, rng: b"\xef\xbb\xbf" + data,
    "nul": lambda data, rng: data.replace(rng.choice((b"1", b"a", b"\n")), b"\0", rng.choice((1, -1))),
    "ends": lambda data, rng: data.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\n\n", b"\x0b", b""))),
    "blanks": lambda data, rng: data.replace(rng.choice((b"|", b"\t", b",")), rng.choice((b" ", b";", b"\t\t"))),
    "long line": lambda data, rng: data.replace(b"\n", b"x" * rng.choice((1000, 200_000)) + b"\n", 1),
    "many lines": lambda data, rng: data + b"\n" * 20_000,
}


def replaced(path: Path, rng: random.Random) -> str:
    """Put something that is no regular file of the owner's in a file's place; return what was done."""
    kind = rng.choice(("delete", "folder", "FIFO", "link to nothing", "link to itself", "device", "link", "second"))
    if kind == "second":
        shutil.copy(path, path.with_name(f"{rng.choice(('a', 'x' * 100, 'a b', 'ü', chr(10)))}{path.name}"))
        return kind
    target = path.with_name("kept")
    path.rename(target)
    if kind == "folder":
        path.mkdir()
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind.startswith("link") or kind == "device":
        aims = {"link to nothing": "nowhere", "link to itself": path.name, "device": "/dev/zero", "link": target.name}
        path.symlink_to(aims[kind])
    return kind


def bomb(path: Path, rng: random.Random) -> str:
    """Make a packed file unpack to far more than text does; return what was done."""
    path.write_bytes(gzip.compress(rng.choice((b"\n", b"{}\n", b" ", b"[")) * (3 << 20), 6))
    return "bomb"


def _lines(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _json_lines(records: list[dict[str, object]]) -> bytes:
    return _lines([json.dumps(record, ensure_ascii=False) for record in records])
