"""FilmTrust: ratings of films, and who trusts whom."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from llmrec_recipes.social.found import Found, Network, last_of_pairs
from llmrec_recipes.social.table_file import TableFile

RATINGS, TRUST = "ratings.txt", "trust.txt"
STARS = np.arange(0.5, 4.25, 0.5)
_LICENCE = (
    "FilmTrust, crawled in 2011: research use. Cite: G. Guo, J. Zhang and N. Yorke-Smith, A Novel Bayesian Similarity\n"
    "Measure for Recommender Systems, IJCAI 2013."
)


def read_filmtrust(path: Path) -> Found:
    """Read the folder: ``ratings.txt`` and, where it is there, ``trust.txt``.

    Raises:
        InputError: Naming file, line and column of what is wrong.
    """
    import pyarrow as pa

    ratings = TableFile.plain(path, RATINGS, ("user", "film", "rating"), ("rating",))
    stars = ratings.numbers("rating", STARS, "one of 0.5, 1, ... 4 belongs")
    user, film = ratings.ids("user"), ratings.ids("film")
    films = film.unique()
    found = Found(
        name="FilmTrust",
        user=user,
        item=film,
        rating=stars.astype(np.float32),
        items=films,
        titles=pa.array([""] * len(films), pa.string()),
        rating_range=(float(STARS[0]), float(STARS[-1])),
        implicit=False,
        network=_network(path),
        links_file=TRUST,
        licence=_LICENCE,
    )
    return last_of_pairs(found, RATINGS)


def _network(path: Path) -> Network | None:
    """Return who trusts whom; None where the file is absent."""
    if not (path / TRUST).exists():
        return None
    trust = TableFile.plain(path, TRUST, ("truster", "trustee", "trust"), ("trust",))
    trust.numbers("trust", np.ones(1), "1 belongs, as the owner writes trust")
    return Network.of(TRUST, trust.ids("truster"), trust.ids("trustee"), mutual=False)
