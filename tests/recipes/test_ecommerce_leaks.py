"""What was written about test and validation: whatever it says, no text, weight or prediction of a model changes."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from llmrec_recipes.ecommerce.demo import demo_dataset
from quick_runs import QUICK

from llmrec_peft.artifact.predictions import NAME, read_predictions
from llmrec_peft.data.dataset import columns
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.experiment.prepared import Prepared
from llmrec_peft.recipe import Recipe, load_recipe
from llmrec_peft.workflows.train import train

RECIPES = ("ecommerce", "ecommerce-retrieval", "ecommerce-smollm2", "ecommerce-7b")
LIE = "Nobody should ever read these words zyzzyva quokka"
_PARTS = ("train", "valid", "test")


@pytest.fixture(scope="module")
def shop() -> dict[str, list[dict[str, Any]]]:
    """Records of a made-up category in the fields of 2018, by file."""
    data = demo_dataset(4)
    told, items = columns(data.interactions), columns(data.items)
    names = ("user_id", "item_id", "rating", "timestamp", "review")
    fields_of_reviews = ("reviewerID", "asin", "overall", "unixReviewTime", "reviewText")
    fields_of_items = {"asin": "item_id", "title": "title", "description": "description", "category": "categories"}
    sold = {"brand": "brand", "feature": "features"}
    return {
        "Letters_5.json.gz": [
            dict(zip(fields_of_reviews, row, strict=True)) for row in zip(*(told[name] for name in names), strict=True)
        ],
        "meta_Letters.json.gz": [
            {name: items[source][at] for name, source in {**fields_of_items, **sold}.items()}
            for at in range(len(items["item_id"]))
        ],
    }


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums of several threads may differ in their last bits from run to run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def told(shop: dict[str, list[dict[str, Any]]], tmp_path: Path) -> Callable[..., Path]:
    """Write the category into one folder, with other words in some of the reviews or in a description."""

    def write(rows: Iterable[int] = (), description: str | None = None) -> Path:
        folder = tmp_path / "letters"
        folder.mkdir(exist_ok=True)
        reviews, products = (list(map(dict, records)) for records in shop.values())
        for row in rows:
            reviews[row] |= {"reviewText": LIE, "summary": LIE}
        if description is not None:
            products[0]["description"] = description
        for name, records in zip(shop, (reviews, products), strict=True):
            (folder / name).write_bytes(gzip.compress("\n".join(map(json.dumps, records)).encode(), mtime=0))
        return folder

    return write


def rows_of(prepared: Prepared, *parts: str) -> list[int]:
    """Rows of the file that belong to some parts."""
    return [int(row) for part in parts for row in prepared.used_rows[getattr(prepared.split, part)]]


def numbers_of(part: Interactions) -> list[Any]:
    found = [getattr(part, one.name) for one in fields(part)]
    return [one.tolist() for one in found if isinstance(one, np.ndarray)]


def inputs(prepared: Prepared) -> list[Any]:
    """All that a model reads of prepared data."""
    read = [prepared.recipe, prepared.texts, prepared.wordings, prepared.vocabulary.users, prepared.vocabulary.items]
    graph = prepared.neighbours
    entities = (
        [] if graph is None else [graph.relation.tolist(), graph.entity.tolist(), graph.relations, graph.entities]
    )
    columns_of = [[dict(row) for row in rows] for rows in (prepared.item_rows, prepared.user_rows)]
    return [*read, *columns_of, entities, *(numbers_of(getattr(prepared, name)) for name in _PARTS)]


@pytest.mark.parametrize("name", RECIPES)
def test_no_recipe_reads_a_review_of_test_or_validation(told: Callable[..., Path], name: str) -> None:
    def read(folder: Path) -> Prepared:
        return prepare(load_recipe(name, changes={"data.path": str(folder)}))

    honest = read(told())
    held_out = rows_of(honest, "valid", "test")
    assert len(held_out) > 50
    lied = read(told(held_out))
    assert inputs(lied) == inputs(honest)
    assert LIE in lied.dataset.interactions[held_out[0]]["review"]
    assert not [text for text in lied.texts if LIE in text]
    described = read(told(description=LIE))
    assert inputs(described) != inputs(honest), "what is compared holds the texts of products"


def weights(run: Path) -> dict[str, bytes]:
    names = re.compile(r".*\.safetensors|vocabulary\.parquet|items\.parquet|seen\.parquet")
    found = {path.name: path.read_bytes() for path in run.iterdir() if names.fullmatch(path.name)}
    assert len(found) >= 5
    return found


@pytest.mark.trains
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", ["ecommerce", "ecommerce-retrieval"])
def test_lies_in_held_out_reviews_change_no_weight_and_no_prediction(
    told: Callable[..., Path], tiny_backbone: Path, tmp_path: Path, name: str
) -> None:
    changes = {**QUICK, "backbone.name": str(tiny_backbone), "training.choice": "validation"}

    def trained(folder: Path, run: str) -> tuple[dict[str, bytes], list[list[float]]]:
        train(load_recipe(name, changes={**changes, "data.path": str(folder)}), tmp_path / run, show=False)
        models = [
            model for head in read_predictions(tmp_path / run / NAME).heads.values() for model in head.models.items()
        ]
        return weights(tmp_path / run), [np.asarray(scores).tolist() for _, scores in sorted(models)]

    held_out = rows_of(prepare(load_recipe(name, changes={**changes, "data.path": str(told())})), "valid", "test")
    honest = trained(told(), "honest")
    lied = trained(told(held_out), "lied")
    assert [key for key in honest[0] if lied[0][key] != honest[0][key]] == []
    assert lied[1] == honest[1]
    assert trained(told(description=LIE), "described")[0] != honest[0]


@pytest.mark.trains
@pytest.mark.usefixtures("one_thread")
def test_a_writer_learns_from_reviews_of_training_alone(
    told: Callable[..., Path], writer_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    """Its validation reviews choose the epoch; those of test are only scored."""

    def trained(rows: Iterable[int], run: str) -> tuple[bytes, float]:
        folder = str(told(rows))
        metrics = train(writer_recipe(**{**writer, "data.path": folder}), tmp_path / run, show=False)
        adapter = (tmp_path / run / "adapter_model.safetensors").read_bytes()
        return adapter, metrics["test"]["after"]["perplexity"]

    writer = {"training.epochs": 1, "data.train_size": 64, "head": {**HEAD, "evaluated": 8}}
    prepared = prepare(load_recipe("ecommerce", changes={"data.path": str(told())}))
    honest = trained((), "honest")
    of_test = trained(rows_of(prepared, "test"), "of-test")
    assert of_test[0] == honest[0]
    assert of_test[1] != honest[1], "the reviews of test are what is scored"
    assert trained(rows_of(prepared, "train"), "of-training")[0] != honest[0]


HEAD = {"name": "explanation", "review_tokens": 8, "about_words": 4}
