"""What reading a large category of Amazon Reviews costs: made-up reviews and products in the fields of 2018, packed.

python benchmarks/reading_ecommerce.py [--reviews 100000 400000]

Each size is written to a temporary folder and read by a process of its own, with review texts and without. A review
has 500 characters and a product, one for every twenty reviews, 1,000 and thirty others that are bought with it.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORDS = "tea mug kettle strong light good bad old new warm cold leaf cup blue green large small heavy".split()
SHARE = 20
"""Reviews of a product, and of a user, in the mean."""


def written(folder: Path, reviews: int) -> None:
    """Write a made-up category."""
    draw = random.Random(0)  # noqa: S311 - nothing secret
    products = users = max(1, reviews // SHARE)
    texts = [" ".join(draw.choices(WORDS, k=100)) for _ in range(1000)]
    with gzip.open(folder / "Made_Up_5.json.gz", "wt", encoding="utf-8", compresslevel=1) as file:
        for _ in range(reviews):
            user, item = draw.randrange(users), draw.randrange(products)
            told = {"overall": float(draw.randint(1, 5)), "reviewerID": f"A{user:012d}", "asin": f"B{item:09d}"}
            text = {
                "reviewText": f"{draw.choice(texts)[:490]} {user}",
                "summary": "Fine",
                "unixReviewTime": 10**9 + user,
            }
            file.write(json.dumps({**told, **text, "verified": True, "reviewerName": "Somebody"}) + "\n")
    with gzip.open(folder / "meta_Made_Up.json.gz", "wt", encoding="utf-8", compresslevel=1) as file:
        for item in range(products):
            bought = [f"B{draw.randrange(products):09d}" for _ in range(30)]
            path = ["Kitchen", f"Aisle {item % 20}", f"Shelf {item % 400}"]
            told = {"asin": f"B{item:09d}", "title": f"Mug {item}", "brand": f"Mill {item % 5000}", "category": path}
            file.write(json.dumps({**told, "description": draw.choices(texts, k=2), "also_buy": bought}) + "\n")


def read(folder: Path, texts: bool) -> None:
    """Read a category and print what it took."""
    from llmrec_recipes.ecommerce.reader import Ecommerce, EcommerceOptions

    bare = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    data = Ecommerce.opened(EcommerceOptions(reviews=texts)).read(folder, None)
    seconds, peak = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    triples = 0 if data.graph is None else len(data.graph.triples)
    print(
        f"{len(data.interactions):>10,} reviews {'with' if texts else 'without'} texts, {len(data.items):,} products,"
        f" {triples:,} triples: {seconds:.0f} s of processor time, peak memory {peak / 2**20:.2f} GiB"
        f" ({bare / 2**20:.2f} GiB before reading)",
        flush=True,
    )


def main() -> None:
    """Write and read all sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reviews", type=int, nargs="+", default=[100_000, 400_000])
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--without-texts", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.read is not None:
        read(asked.read, not asked.without_texts)
        return
    for reviews in asked.reviews:
        with tempfile.TemporaryDirectory() as folder:
            written(Path(folder), reviews)
            for further in ([], ["--without-texts"]):
                subprocess.run([sys.executable, __file__, "--read", folder, *further], check=True)


if __name__ == "__main__":
    main()
