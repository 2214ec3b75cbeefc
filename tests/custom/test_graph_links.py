"""Links: a second file says which entity of a knowledge graph stands for which item."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from llmrec_peft import Dataset
from llmrec_peft.custom.propose import propose
from llmrec_peft.data.dataset import KnowledgeGraph, columns
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.prepare import prepare, read_dataset

RATINGS: dict[str, list[Any]] = {"user": [], "item": [], "rating": []}
for _user in range(20):
    for _item in random.Random(_user).sample(range(30), 8):
        RATINGS["user"].append(str(_user))
        RATINGS["item"].append(str(_item))
        RATINGS["rating"].append(random.Random(_user * 99 + _item).randint(1, 5))
GRAPH = {
    "head": [f"m.0{at}" for at in range(25)] + ["m.director"],
    "relation": ["made by"] * 26,
    "tail": [f"maker {at % 5}" for at in range(25)] + ["7"],
}
LINKS = {"item_id": [*map(str, range(25)), "3", "unknown"], "entity_id": [*GRAPH["head"][:25], "m.03", "m.04"]}


def linked(graph: KnowledgeGraph | None) -> dict[str, str]:
    assert graph is not None
    found = columns(graph.links)
    assert len(set(found["item_id"])) == len(found["item_id"])
    return dict(zip(found["item_id"], found["entity_id"], strict=True))


def written(folder: Path, name: str, table: dict[str, list[Any]], mark: str = ",") -> Path:
    path = folder / name
    rows = [mark.join(map(str, row)) for row in zip(*table.values(), strict=True)]
    path.write_text("\n".join([mark.join(table), *rows]) + "\n", encoding="utf-8")
    return path


def test_links_of_frames_say_which_entities_are_items() -> None:
    data = Dataset.from_frames(RATINGS, graph=GRAPH, graph_links=LINKS)
    assert data.found.columns.graph_links is not None
    assert linked(data.dataset.graph) == {str(at): f"m.0{at}" for at in range(25)}
    turned = {"b": LINKS["entity_id"], "a": LINKS["item_id"]}
    assert linked(Dataset.from_frames(RATINGS, graph=GRAPH, graph_links=turned).dataset.graph)["3"] == "m.03"


def test_links_of_files_stand_in_the_recipe(tmp_path: Path) -> None:
    ratings, graph = written(tmp_path, "ratings.csv", RATINGS), written(tmp_path, "film.kg", GRAPH, "\t")
    links = written(tmp_path, "film.link", LINKS, "\t")
    proposal = propose(ratings, graph=graph, graph_links=links)
    assert "entity: entity_id  # 100 % of its values are entities of film.kg" in proposal.text
    assert linked(read_dataset(proposal.recipe.data).graph) == {str(at): f"m.0{at}" for at in range(25)}
    prepared = prepare(proposal.recipe)
    assert prepared.neighbours is not None and "graph" in prepared.recipe.signals.active
    alone = proposal.recipe.changed({"data.options.graph_links": None})
    assert linked(read_dataset(alone.data).graph) == {"7": "7"}, "without links an entity bears its item's id"


@pytest.mark.parametrize(
    ("links", "given", "said"),
    [
        ({"a": ["x"], "b": ["m.01"]}, {}, "graph_links: no column has ids of items; it has 'a', 'b'"),
        ({"a": ["1"], "b": ["x"]}, {}, "graph_links: no column has entities of graph; it has 'a', 'b'"),
        ({"a": ["1"]}, {}, "no column has entities of graph"),
        (LINKS, {"links_item_column": "item"}, "--links-item-column: graph_links has no column 'item'"),
    ],
)
def test_links_that_link_nothing_are_refused(links: Any, given: dict[str, str], said: str) -> None:
    with pytest.raises(InputError) as caught:
        Dataset.from_frames(RATINGS, graph=GRAPH, graph_links=links, **given)
    assert said in str(caught.value)


def test_links_need_a_graph_and_a_graph_of_other_ids_asks_for_them() -> None:
    with pytest.raises(InputError, match="graph_links: links say which entities of a graph are items, and there is no"):
        Dataset.from_frames(RATINGS, graph_links=LINKS)
    strange = {**GRAPH, "tail": ["maker"] * 26}
    with pytest.raises(InputError, match="--graph-links FILE says which entity stands for which item"):
        Dataset.from_frames(RATINGS, graph=strange)
