"""Columns that prompts name are read row by row where they lie: a load parses none that was checked before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from former_runs import with_columns_in_table
from resealed import resealed
from spoiled import change_table, change_tensors

from llmrec_peft.artifact import object_rows
from llmrec_peft.artifact.object_rows import ObjectRows
from llmrec_peft.artifact.parquet import Table
from llmrec_peft.data.text_column import TextColumn
from llmrec_peft.errors import InputError
from llmrec_peft.known_contents import forget
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.serving.loading import Loading
from llmrec_peft.serving.sealed_store import SealedStore

pytestmark = pytest.mark.trains
CATALOGUE = "catalogue.safetensors"


@pytest.fixture
def run(task_runs: Callable[[str], Path], tmp_path: Path) -> Path:
    """A run that reads prompts, and that may be spoiled."""
    return Path(shutil.copytree(task_runs("prompt"), tmp_path / "run"))


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts of the rows that are parsed, to be checked or to be read."""
    texts: list[str] = []
    loads, checked = json.loads, object_rows.parse_json

    def counted(parse: Callable[..., Any]) -> Callable[..., Any]:
        return lambda text, *given, **more: (texts.append(text), parse(text, *given, **more))[1]

    monkeypatch.setattr(object_rows, "json", SimpleNamespace(loads=counted(loads), dumps=json.dumps))
    monkeypatch.setattr(object_rows, "parse_json", counted(checked))
    return texts


def scores_of(recommender: Recommender) -> Any:
    users, items = recommender.vocabulary.users, recommender.vocabulary.items
    return recommender.score(list(users[:12]), list(items[:12]))


def test_rows_are_counted_from_nobody() -> None:
    rows = ObjectRows(['{"a": 1}', '{"a": [NaN]}'], nobody=True)
    assert len(rows) == 3
    assert rows[:2] == ({}, {"a": 1})
    assert np.isnan(rows[-1]["a"][0])
    assert [len(row) for row in rows] == [0, 1, 1]
    for at in (3, -4):
        with pytest.raises(IndexError):
            rows[at]


@pytest.mark.parametrize("layout", ["now", "before"])
def test_a_warm_load_parses_no_row_and_a_score_those_that_its_prompts_name(
    layout: str, run: Path, tmp_path: Path, parsed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    vocabulary = Recommender.from_pretrained(run).vocabulary
    count = len(vocabulary.users), len(vocabulary.items)
    if layout == "before":
        with_columns_in_table(run)
    pq.write_table(pa.table({"columns": ['{"age": 7}'] * count[0]}), run / "users.parquet")
    parsed.clear()
    sealed = SealedStore(tmp_path / "store").add(resealed(run))
    loading = Loading(torch.device("cpu"), try_adapters=False)
    forget()
    loading.load(sealed)
    assert len(parsed) >= sum(count), "the first load checks every row"
    parsed.clear()
    unpacked: list[str] = []
    texts = Table.texts
    monkeypatch.setattr(Table, "texts", lambda self, column: (unpacked.append(column), texts(self, column))[1])
    tenant = loading.load(sealed).tenant
    assert (len(parsed), unpacked) == (0, [])
    user, row = 3, 5
    tenant.score(np.array([user] * 4), np.array([row] * 4))
    known = set(tenant.seen.of(user)[0].tolist()) - {0}
    assert len(parsed) == len(known | {row + 1}) + 1, "each item once, and the user"


def test_a_run_that_has_them_in_its_table_answers_as_one_that_has_them_in_its_catalogue(
    run: Path, task_runs: Callable[[str], Path]
) -> None:
    with_columns_in_table(run)
    assert "columns" in pq.read_schema(run / "items.parquet").names
    before, now = Recommender.from_pretrained(resealed(run)), Recommender.from_pretrained(task_runs("prompt"))
    assert tuple(before.tenant.items.columns) == tuple(now.tenant.items.columns)
    assert np.array_equal(scores_of(before), scores_of(now))


def rows(change: Callable[[list[str]], list[str]]) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    """A change of the texts of the catalogue's columns."""

    def changed(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        own = TextColumn(tensors["columns.offsets"].numpy(), tensors["columns.content"].numpy())
        made = TextColumn.of(change(list(own)))
        parts = {"columns.offsets": made.offsets, "columns.content": made.content}
        return {**tensors, **{name: torch.from_numpy(np.array(array)) for name, array in parts.items()}}

    return changed


def last(text: str) -> Callable[[list[str]], list[str]]:
    return lambda texts: [*texts[:-1], text]


SPOILED: dict[str, tuple[Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], str]] = {
    "no JSON": (rows(last("{")), "a row of columns is no JSON object"),
    "a list": (rows(last("[1]")), "a row of columns is no JSON object"),
    "a name twice": (rows(last('{"a": 1, "a": 2}')), "a row of columns is no JSON object"),
    "too deep": (rows(last('{"a":' * 40 + "1" + "}" * 40)), "a row of columns is no JSON object"),
    "too long": (rows(last('"' + "a" * (1 << 20) + '"')), "a row has 1,048,578 characters"),
    "a row less": (rows(lambda texts: texts[:-1]), r"\d+ columns for \d+ items"),
    "no offsets": (
        lambda tensors: {name: one for name, one in tensors.items() if name != "columns.offsets"},
        r"tensor columns\.offsets is missing",
    ),
    "an order": (lambda tensors: {**tensors, "columns.order": tensors["items.order"]}, "columns.order is unknown"),
    "no UTF-8": (
        lambda tensors: {**tensors, "columns.content": torch.full_like(tensors["columns.content"], 0xFF)},
        "columns: a text is not UTF-8",
    ),
}


@pytest.mark.parametrize("case", SPOILED)
def test_spoiled_rows_are_refused_in_one_line_though_their_digest_is_true(case: str, run: Path) -> None:
    change, message = SPOILED[case]
    change_tensors(run / CATALOGUE, change)
    with pytest.raises(InputError, match=rf"catalogue\.safetensors: .*{message}") as caught:
        Recommender.from_pretrained(resealed(run))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[1]", '{"a": 1, "a": 2}'])
def test_spoiled_rows_of_a_table_are_refused_as_before(text: str, run: Path) -> None:
    with_columns_in_table(run)

    def spoiled(table: pa.Table) -> pa.Table:
        own = [*table["columns"].to_pylist()[:-1], text]
        return table.set_column(table.schema.get_field_index("columns"), "columns", pa.array(own))

    change_table(run / "items.parquet", spoiled)
    with pytest.raises(InputError, match=r"items\.parquet: .*a row of columns is no JSON object"):
        Recommender.from_pretrained(resealed(run))


def test_a_table_without_them_is_refused_where_prompts_are_made_of_them(run: Path) -> None:
    with_columns_in_table(run)
    change_table(run / "items.parquet", lambda table: table.drop_columns(["columns"]))
    with pytest.raises(InputError, match="no columns of items, of which the run's prompts are made"):
        Recommender.from_pretrained(resealed(run))
