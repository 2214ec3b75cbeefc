"""Texts beside MovieLens: plots become a column of the films, reviews one of the ratings, learnt of training alone."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
from llmrec_recipes.movies.reader import Movies, MoviesOptions

from llmrec_peft.data.dataset import RecDataset, column
from llmrec_peft.data.soundness import sound
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.experiment.prepared import Prepared
from llmrec_peft.recipe import load_recipe

TEMPLATE = "views.item.template={{ title }}. {% if plot %}{{ plot }}{% endif %}"


def read(folder: Path, name: str, text: str) -> RecDataset:
    (folder / name).write_text(text, encoding="utf-8")
    return Movies.opened(MoviesOptions(reviews=name)).read(folder, None)


def test_plots_become_a_column_of_the_films(movielens_folder: Path) -> None:
    text = 'movieId,plot\n1,"A man, <i>lost</i> &amp; found."\n3,\n4,First.\n4,Second.\n4,First.\n04,Other.\n99,None.\n'
    data = read(movielens_folder, "plots.csv", text)
    assert sound(data) is data
    assert column(data.items, "plot")[:5] == ["A man, lost & found.", None, None, "First. Second.", None]
    assert data.notes == (
        "rows of plots.csv about other films, left out: 2",
        "films without a text in plots.csv: 38",
    )


def test_plots_are_read_by_the_template(movielens_folder: Path) -> None:
    (movielens_folder / "plots.jsonl").write_text(json.dumps({"item_id": 2, "overview": "A heist."}), encoding="utf-8")
    recipe = load_recipe("movies", ["data.options.reviews=plots.jsonl", TEMPLATE], {"data.path": str(movielens_folder)})
    texts = prepare(recipe).texts
    assert texts[2:4] == ("The Café Number 2. A heist.", "The Café Number 3.")


def test_films_may_be_known_by_their_imdb_ids(tmp_path: Path) -> None:
    for name, text in {
        "ratings.csv": "userId,movieId,rating,timestamp\n1,1,4,978300000\n2,7,3.5,978300001\n",
        "movies.csv": "movieId,title,genres\n1,Toy Story (1995),Comedy\n7,Sabrina (1995),Romance\n",
        "links.csv": "movieId,imdbId,tmdbId\n1,0114709,862\n7,0114319,\n",
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    data = read(tmp_path, "plots.tsv", "imdb_id\tplot\ntt0114319\tShe returns.\ntt9\tNo.\n")
    assert column(data.items, "plot") == [None, "She returns."]
    assert column(read(tmp_path, "more.csv", "tmdbId,plot\n862,Toys live.\n0,No.\n").items, "plot") == [
        "Toys live.",
        None,
    ]
    (tmp_path / "links.csv").unlink()
    with pytest.raises(InputError, match=r"known by imdbid there, and .*links\.csv is missing"):
        read(tmp_path, "plots.tsv", "imdb_id\tplot\ntt0114319\tShe returns.\n")


def reviewed(folder: Path, of_test: str) -> str:
    """Reviews of all ratings; `of_test` is put before those of the test part."""
    lines = ["userId,movieId,review"]
    for name, said in (("u1.base", ""), ("u1.test", of_test)):
        for row in (folder / name).read_text(encoding="utf-8").splitlines():
            user, film, stars, _ = row.split("\t")
            lines.append(f"{user},{film},{said}{stars} stars for film {film}")
    return "\n".join(lines) + "\n"


def test_reviews_become_a_column_of_the_ratings(movielens_folder: Path) -> None:
    text = reviewed(movielens_folder, "")
    first = text.splitlines()[1].split(",")
    text += f"{first[0]},{first[1]},a second one\n77,1,nobody\n"
    data = read(movielens_folder, "reviews.csv", text.replace(f"{first[2]}\n", "\n", 1))
    assert "plot" not in data.items.column_names
    rows = zip(*(column(data.interactions, one) for one in ("item_id", "rating", "review")), strict=True)
    said = [(f"{int(stars)} stars for film {film}", review) for film, stars, review in rows]
    assert said[0][1] == "", "of several for one pair the first counts"
    assert all(one == other for one, other in said[1:])
    assert data.notes == (
        "rows of reviews.csv of pairs that are no rating here, left out: 1",
        "ratings without a review in reviews.csv: 1",
    )


def prepared(folder: Path, reviews: str) -> Prepared:
    (folder / "reviews.csv").write_text(reviews, encoding="utf-8")
    overrides = ["data.options.reviews=reviews.csv", "views.user.template={{ history | length }}"]
    return prepare(load_recipe("movies", [*overrides, "signals.text={}"], {"data.path": str(folder)}))


def test_nothing_of_the_test_part_reaches_training(movielens_folder: Path) -> None:
    first = prepared(movielens_folder, reviewed(movielens_folder, ""))
    path = movielens_folder / "u1.test"
    rows = [row.split("\t") for row in path.read_text(encoding="utf-8").splitlines()]
    stars = [row[2] for row in rows]
    random.Random(3).shuffle(stars)
    path.write_text("".join("\t".join([*row[:2], new, row[3]]) + "\n" for row, new in zip(rows, stars, strict=True)))
    other = prepared(movielens_folder, reviewed(movielens_folder, "SECRET "))
    train = first.split.train
    assert (train == other.split.train).all()
    assert (first.interactions.label[first.split.test] != other.interactions.label[other.split.test]).any()
    for name in ("user", "item", "label", "timestamp"):
        assert np.array_equal(getattr(first.interactions, name)[train], getattr(other.interactions, name)[train])
    assert first.texts == other.texts
    assert first.user_rows[1] == other.user_rows[1]
    reviews = np.asarray(column(other.dataset.interactions, "review"))
    assert not [text for text in reviews[other.used_rows[train]] if "SECRET" in text]
    assert any("SECRET" in text for text in reviews[other.used_rows[other.split.test]])


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("plots.csv", "movieId,stars\n1,5\n", "plots.csv: no column of texts (plot, review, overview, text)"),
        ("plots.csv", "film_name,plot\nHeat,Cops.\n", "plots.csv: no column of films (movieId, or imdbId or tmdbId)"),
        ("plots.csv", "movieId,plot\n99,Cops.\n", "no text of plots.csv is about a film (or rating) of this data"),
        ("plots.csv", "movieId,userId,plot\n1,99,Cops.\n", "no text of plots.csv is about a film (or rating)"),
        ("plots.csv", "movieId,plot\n1,Cops.\n2\n", "plots.csv, line 3: 1 column where 2 are expected"),
        ("plots.csv", "", "plots.csv"),
    ],
)
def test_a_file_without_films_or_texts_is_refused(movielens_folder: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        read(movielens_folder, name, text)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_one_elsewhere_are_refused(movielens_folder: Path) -> None:
    with pytest.raises(InputError, match=r"data\.options\.reviews: .*plots\.csv is missing"):
        Movies.opened(MoviesOptions(reviews="plots.csv")).read(movielens_folder, None)
    (movielens_folder.parent / "plots.csv").write_text("movieId,plot\n1,Cops.\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"data\.options\.reviews: '\.\./plots\.csv' leads out of"):
        Movies.opened(MoviesOptions(reviews="../plots.csv")).read(movielens_folder, None)
