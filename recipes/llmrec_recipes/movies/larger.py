"""The larger MovieLens: 1M and 10M (``ratings.dat``), 20M, 25M, 32M, latest and latest-small (``ratings.csv``)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft.plugins import FileForm, table
from llmrec_recipes.byte_lines import encoding_of
from llmrec_recipes.movies.found import OLDEST, Found, require_new
from llmrec_recipes.movies.listed import FILM_COLUMNS, RATING_COLUMNS, read_films, read_ratings, users_of
from llmrec_recipes.text_files import required_file, rows, whole_number

if TYPE_CHECKING:
    from datasets import Dataset

_WHOLE_STARS = (1.0, 2.0, 3.0, 4.0, 5.0)
_HALF_STARS = tuple(half / 2 for half in range(1, 11))
_DELIMITER = "::"
_OCCUPATIONS = (
    *("other", "academic/educator", "artist", "clerical/admin", "college/grad student", "customer service"),
    *("doctor/health care", "executive/managerial", "farmer", "homemaker", "K-12 student", "lawyer", "programmer"),
    *("retired", "sales/marketing", "scientist", "self-employed", "technician/engineer", "tradesman/craftsman"),
    *("unemployed", "writer"),
)
"""What the codes of ``users.dat`` stand for, by its owner's README."""
_NAMES = {
    100_836: "MovieLens-latest-small",
    1_000_209: "MovieLens-1M",
    10_000_054: "MovieLens-10M",
    20_000_263: "MovieLens-20M",
    25_000_095: "MovieLens-25M",
    32_000_204: "MovieLens-32M",
}
"""What the owner calls a set of so many ratings."""


def read_dat(path: Path) -> Found:
    """Read ``ratings.dat``, ``movies.dat`` and, of MovieLens-1M, ``users.dat``; ``::`` separates fields.

    Without ``users.dat`` it is MovieLens-10M, whose users give half stars and of whom nothing is known.

    Args:
        path: Folder in the owner's layout.

    Raises:
        InputError: Naming file, line and column of the mistake.
    """
    ratings, films_file = required_file(path, "ratings.dat"), required_file(path, "movies.dat")
    described = (path / "users.dat").exists()
    stars, owners = (_WHOLE_STARS, "latin-1") if described else (_HALF_STARS, "utf-8")
    encoding = encoding_of(films_file, owners)
    films = read_films(films_file, _dat_form(FILM_COLUMNS, encoding))
    users = _users(required_file(path, "users.dat")) if described else None
    interactions = read_ratings(
        ratings,
        _dat_form(RATING_COLUMNS),
        ("movies.dat", films),
        None if users is None else ("users.dat", users),
        stars,
    )
    return Found(
        name=_NAMES.get(len(interactions), "MovieLens"),
        interactions=interactions,
        items=films,
        users=users_of(interactions) if users is None else users,
        rating_range=(stars[0], stars[-1]),
        described_in="movies.dat",
        notes=() if encoding == owners else (f"movies.dat is read as {encoding}; the owner's is {owners}",),
    )


def read_csv(path: Path) -> Found:
    """Read ``ratings.csv`` and ``movies.csv``, as MovieLens is published since 2014; half stars.

    Args:
        path: Folder in the owner's layout.

    Raises:
        InputError: Naming file, line and column of the mistake.
    """
    ratings, films_file = required_file(path, "ratings.csv"), required_file(path, "movies.csv")
    films = read_films(films_file, FileForm())
    interactions = read_ratings(ratings, FileForm(), ("movies.csv", films), None, _HALF_STARS)
    return Found(
        name=_NAMES.get(len(interactions), "MovieLens"),
        interactions=interactions,
        items=films,
        users=users_of(interactions),
        rating_range=(_HALF_STARS[0], _HALF_STARS[-1]),
        described_in="movies.csv",
    )


def _dat_form(columns: tuple[str, ...], encoding: str = "utf-8") -> FileForm:
    return FileForm(delimiter=_DELIMITER, quote="none", header=False, columns=columns, encoding=encoding)


def _users(path: Path) -> Dataset:
    """Read ``users.dat``: ``age`` is the youngest of the user's group, 1 for all below 18."""
    columns: dict[str, list[Any]] = {"user_id": [], "age": [], "gender": [], "occupation": []}
    seen: set[str] = set()
    for line, (user, gender, age, occupation, _zip) in rows(path, _DELIMITER, 5, encoding_of(path, "latin-1")):
        require_new(user, seen, path, line, "user")
        columns["user_id"].append(user)
        columns["age"].append(whole_number(age, path, line, "age", 0, OLDEST))
        columns["gender"].append(gender)
        code = whole_number(occupation, path, line, "occupation", 0, len(_OCCUPATIONS) - 1)
        columns["occupation"].append(_OCCUPATIONS[code])
    return table(columns)
