"""New items: their texts are the very texts that training makes, from a file's row and from pandas; or refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from llmrec_peft import registry
from llmrec_peft.artifact.catalogue_file import TYPES, read_catalogue, write_catalogue
from llmrec_peft.artifact.tables import ItemTable
from llmrec_peft.backbone.tensor_files import read_tensors, write_tensors
from llmrec_peft.data.column_types import ColumnType, column_types
from llmrec_peft.data.views import ViewTemplate
from llmrec_peft.data.vocabulary import Vocabulary
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.explanation.explainer import Explainer
from llmrec_peft.recipe import load_recipe
from llmrec_peft.run.new_items import NewItems
from llmrec_peft.run.recommender import Recommender


def _table(types: Mapping[str, ColumnType] | None) -> ItemTable:
    return ItemTable((), (), np.zeros(0, np.int64), (), types)


FILMS = _table(
    {"title": ColumnType("text"), "year": ColumnType("whole", gaps=True), "genres": ColumnType("text", many=True)}
)
FILM = {"title": "Heat", "year": 1995, "genres": ["Crime", "Drama"]}
TRIED = (
    *("movies", "ecommerce", "amazon-scientific", "tallrec-movie", "tallrec-book", "collm-ml-1m", "news"),
    *("social", "music"),
)


@pytest.fixture
def films() -> NewItems:
    """What `movies` reads of a film."""
    return NewItems.of(load_recipe("movies"), FILMS)


@pytest.fixture
def recommender(tiny_run: Path) -> Recommender:
    """The trained run, loaded."""
    return Recommender.from_pretrained(tiny_run)


def _cell(value: Any, divided: str | None) -> str:
    """A value as a spreadsheet or pandas writes it: empty where missing, lists as JSON or divided, 1995 as 1995.0."""
    if value is None:
        return ""
    if isinstance(value, list):
        return json.dumps(value) if divided is None else divided.join(map(str, value))
    return f"{value}.0" if isinstance(value, int) and not isinstance(value, bool) else str(value)


@pytest.mark.parametrize("recipe", TRIED)
def test_text_from_a_files_row_is_the_text_that_training_made(recipe: str) -> None:
    prepared = prepare(load_recipe(recipe, changes={"data.path": "demo"}))
    types = column_types(prepared.dataset.items)
    for divided in (None, "|", ", "):
        if divided is not None and any(divided.strip() in kind.inside for kind in types.values()):
            continue
        rows = [
            {name: value if name == "item_id" else _cell(value, divided) for name, value in row.items()}
            for row in prepared.item_rows[1:]
        ]
        for own in (prepared.recipe, load_recipe(recipe)):  # demo data may have a template of its own
            view, new = ViewTemplate(own.views.item.template), NewItems.of(own, _table(types))
            made = view.render_all(prepared.item_rows[1:])
            assert own is not prepared.recipe or made == list(prepared.texts[1:])
            assert view.render_all([new.brought(row) for row in rows]) == made


def test_every_recipe_that_is_shipped_and_reads_items_of_demo_data_is_tried() -> None:
    texts = {load_recipe(name).views.item.template for name in registry.plugins("recipes")}
    assert texts == {load_recipe(name).views.item.template for name in TRIED}


def test_row_of_pandas_gives_the_text_of_the_row_it_was_made_of(films: NewItems) -> None:
    made = [{"item_id": "a", **FILM}, {"item_id": "b", **FILM, "year": None, "genres": []}]
    frame = pd.DataFrame(made)
    assert frame["year"].dtype == float
    view = ViewTemplate(load_recipe("movies").views.item.template)
    brought = [films.brought(row) for row in frame.to_dict("records")]
    assert brought == made
    assert view.render_all(brought) == ["Heat (1995). Genres: Crime, Drama.", "Heat."]


def test_column_that_training_did_not_know_is_left_out(films: NewItems) -> None:
    row = films.brought({"item_id": "a", **FILM, "order_no": "00501"})
    assert row == {"item_id": "a", **FILM}


def test_item_columns_of_a_prompt_are_read_too() -> None:
    recipe = load_recipe("tallrec-movie", ["head.feed=prompt"])
    prompt = recipe.views.prompt
    assert prompt is not None
    types = {**(FILMS.types or {}), "studio": ColumnType("text"), "price": ColumnType("number")}

    def read(template: str) -> list[str]:
        views = recipe.views.model_copy(update={"prompt": prompt.model_copy(update={"template": template})})
        return list(NewItems.of(recipe.model_copy(update={"views": views}), _table(types)).types or {})

    assert read("{% for film in history %}{{ film.price }}{% endfor %}") == ["title", "year"]
    assert read("{{ item.studio }}") == ["title", "year", "studio"]
    assert read('{{ item["price"] }}') == ["title", "year", "price"]
    assert read("{% for name in item %}{{ item[name] }}{% endfor %}") == list(types)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"title": 7}, "item 'n', column title: 7 is no text; the items table has text there"),
        ({"year": "soon"}, "item 'n', column year: 'soon' is no whole number; the items table has whole numbers there"),
        ({"genres": 3}, "item 'n', column genres: 3 is no list; the items table has lists of text there"),
        ({"title": "", "year": None, "genres": ""}, "item 'n': the columns that its text takes are all empty"),
        ({"item_id": 7}, "item ids are texts: '7', not 7"),
        ({"item_id": None}, "a new item has no item_id"),
        ({"item_id": " "}, "a new item has no item_id"),
        ({"item_id": "n\ud800"}, r"item 'n\\ud800': an id is a text in UTF-8 without zero bytes"),
        ({"item_id": "n\0"}, r"item 'n\\x00': an id is a text in UTF-8 without zero bytes"),
    ],
)
def test_row_that_cannot_be_brought_is_refused_naming_item_and_column(
    change: dict[str, Any], said: str, films: NewItems
) -> None:
    with pytest.raises(InputError, match=said):
        films.all_brought([{"item_id": "n", **FILM, **change}], ())


def test_missing_column_is_refused_by_name_and_a_run_without_types_says_so(films: NewItems) -> None:
    with pytest.raises(
        InputError, match=r"item 'n': no column 'genres', which its text takes .the items table has lists"
    ):
        films.brought({"item_id": "n", "title": "Heat", "year": 1995})
    with pytest.raises(InputError, match="a new item is a mapping of its columns, not 'title'"):
        films.all_brought(["title"], ())  # type: ignore[list-item]
    with pytest.raises(InputError, match=r"this run does not say the types of its items' columns.*: train it again"):
        NewItems.of(load_recipe("movies"), _table(None)).brought({"item_id": "n", **FILM})


def test_types_are_kept_in_the_catalogue_and_a_description_that_is_none_is_refused(tmp_path: Path) -> None:
    path, vocabulary = tmp_path / "catalogue.safetensors", Vocabulary.of(["u"], ["1"])
    items = replace(FILMS, titles=("a",), texts=("a",), popularity=np.ones(1, np.int64))
    write_catalogue(path, vocabulary, items)
    assert read_catalogue(path).types == FILMS.types
    tensors = read_tensors(path)
    for wrong in ("[", "7", '{"title": "text"}', '{"title": {}}'):
        write_tensors(path, tensors, {TYPES: wrong})
        with pytest.raises(InputError, match="column_types in its header are no types of columns"):
            read_catalogue(path)


def test_added_items_have_one_score_whatever_form_their_columns_have(recommender: Recommender) -> None:
    forms: Sequence[dict[str, Any]] = (
        {"title": "Heat", "year": 1995, "genres": ["Crime", "Drama"]},
        {"title": "Heat", "year": 1995.0, "genres": np.array(["Crime", "Drama"])},
        {"title": np.str_("Heat"), "year": "1995", "genres": "Crime|Drama"},
        {"title": "Heat", "year": np.int64(1995), "genres": "Crime, Drama", "extra": object()},
    )
    ids = recommender.add_items({"item_id": f"new{at}", **form} for at, form in enumerate(forms))
    scores = recommender.score(["1"] * len(ids), ids)
    assert np.ptp(scores) < 1e-5
    assert list(recommender.catalogue.titles[-len(ids) :]) == ["Heat"] * len(ids)


ID_CALLS: dict[str, Callable[[Recommender], Any]] = {
    "user ids are texts: '1', not 1": lambda r: r.score([1], ["1"]),  # type: ignore[list-item]
    "item ids are texts: '1', not 1": lambda r: r.score(["1"], [1]),  # type: ignore[list-item]
    "user ids are texts: '3', not 3": lambda r: r.recommend([3]),  # type: ignore[list-item]
    r"user ids are texts: '4', not np.int64\(4\)": lambda r: r.recommend([np.int64(4)]),  # type: ignore[list-item]
    "user ids are texts: not None": lambda r: r.recommend([None]),  # type: ignore[list-item]
    "user ids are texts: not 1.0": lambda r: r.recommend([1.0]),  # type: ignore[list-item]
    r"user ids are a list of texts: \['12'\], not '12'": lambda r: r.recommend("12"),
    "user ids are a list of texts, not 5": lambda r: r.score(5, 5),  # type: ignore[arg-type]
    "item ids are texts: '2', not 2": lambda r: r.score(["1"], ["1"], histories=[[(2, 1.0)]]),  # type: ignore[list-item]
    "user ids are texts: '6', not 6": lambda r: r.user_vectors([6]),  # type: ignore[list-item]
    "item ids are texts: '7', not 7": lambda r: r.add_items([{"item_id": 7, **FILM}]),
    "user ids are texts: '8', not 8": lambda r: Explainer(r, words="none").explain(8, "1"),  # type: ignore[arg-type]
    "item ids are texts: '9', not 9": lambda r: Explainer(r, words="none").explain("1", 9),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("said", ID_CALLS)
def test_id_that_is_no_text_is_refused_everywhere(said: str, recommender: Recommender) -> None:
    with pytest.raises(InputError, match=said):
        ID_CALLS[said](recommender)


@pytest.mark.parametrize(
    ("history", "said"),
    [
        (["1", "2"], "a history is a list of pairs of an item id and its label"),
        (5, "a history is a list of pairs"),
        ([("1", "good")], "a history is a list of pairs"),
        ([("1", float("nan"))], "a label of a history is no finite number"),
    ],
)
def test_history_that_is_no_pairs_of_ids_and_labels_is_refused(
    history: Any, said: str, recommender: Recommender
) -> None:
    with pytest.raises(InputError, match=said):
        recommender.score(["1"], ["1"], histories=[history])
    with pytest.raises(InputError, match=r"k is a whole number, not 2\.5"):
        recommender.recommend(["1"], k=2.5)  # type: ignore[arg-type]


def test_ids_of_numpy_and_pandas_are_texts(recommender: Recommender) -> None:
    expected = recommender.score(["1", "2"], ["3", "4"])
    for make in (np.array, pd.Series, tuple, iter):
        assert recommender.score(make(["1", "2"]), make(["3", "4"])).tolist() == expected.tolist()
    assert [answer.basis for answer in recommender.recommend(np.array(["1", "2"]))] == ["personal", "personal"]  # type: ignore[arg-type]
