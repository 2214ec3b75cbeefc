"""An update of a ranking keeps the share of a baseline with which its run answers, and counts the baseline again."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from growing_films import changes, growing_films, until
from resealed import resealed
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from llmrec_peft import Recommender
from llmrec_peft.artifact.catalogue_file import read_vocabulary
from llmrec_peft.artifact.predictions import read_predictions
from llmrec_peft.artifact.seen import read_learned
from llmrec_peft.data.dataset import RecDataset, arrow, numbers
from llmrec_peft.data.tables import dataset_of
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.baselines.followers import transitions
from llmrec_peft.evaluation.baselines.ranking import neighbour_counts
from llmrec_peft.evaluation.intervals import PairedInterval
from llmrec_peft.experiment import ranking_blend, served_blend
from llmrec_peft.experiment.fitting import FittedVariant
from llmrec_peft.experiment.pair_answers import raw_scores
from llmrec_peft.experiment.prepared import Prepared
from llmrec_peft.experiment.updating import recipe_to_update
from llmrec_peft.model import RecModel
from llmrec_peft.model.served_neighbours import STRONGEST, strongest
from llmrec_peft.recipe import Recipe, load_recipe
from llmrec_peft.recipe.yaml_file import read_yaml
from llmrec_peft.signals.parts.item_links import link_table
from llmrec_peft.workflows import update as workflow
from llmrec_peft.workflows.train import train
from llmrec_peft.workflows.update import Asked, update

QUIET = Asked(force=True, show=False)
Measured = tuple[Path, dict[str, RecModel], Prepared]
"""A run folder, the models that were compared, by name, and on what."""
BASELINES = ("popularity", "neighbour_counts", "counts_and_text", "transitions_and_words")

SIZED = ("baseline.tables.pair", "baseline.tables.item_offset", "baseline.follows.begin")
"""Tables of baselines whose sizes are checked."""


@pytest.fixture(scope="module")
def films() -> RecDataset:
    """Made-up films, some of which come later."""
    return growing_films()


@pytest.fixture(scope="module", params=BASELINES)
def run(
    request: pytest.FixtureRequest, films: RecDataset, tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A ranking of the first half of the made-up films that answers with a share of the baseline."""
    folder = tmp_path_factory.mktemp("ranking") / "run"
    told = {"data.split": "leave-last-out", "training.choice": "auto", "evaluation.collaborative_only": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking_blend, "SERVABLE", (request.param,))
        patch.setattr(served_blend, "paired_interval", lambda *given: PairedInterval(1.0, 0.5, 1.5, 9))
        recipe = load_recipe("movies-ranking", [], changes(tiny_backbone, **told))
        train(recipe, folder, show=False, dataset=until(films, 0.5))
    assert recipe_of(folder).served.baseline == request.param  # type: ignore[union-attr]
    return folder


@pytest.fixture(scope="module")
def updated(run: Path, films: RecDataset) -> Measured:
    """The run, updated with everything up to four fifths."""
    return measured(run, run.with_name("run-u1"), until(films, 0.8))


def measured(run: Path, folder: Path, data: RecDataset) -> Measured:
    """Update a run, and return what was compared."""
    models, given = {}, []
    real = workflow.predict_windows

    def predict_windows(heads: Any, name: str, fitted: FittedVariant, prepared: Prepared) -> None:
        models[name] = fitted.model
        given.append(prepared)
        real(heads, name, fitted, prepared)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workflow, "predict_windows", predict_windows)
        update(run, None, folder, QUIET, data)
    return folder, models, given[0]


def seen_again(data: RecDataset) -> RecDataset:
    """Return data in which some of the first interactions are among the newest, in place of where they were."""
    table = arrow(data.interactions)
    time = np.asarray(numbers(data.interactions, "timestamp")).copy()
    time[np.argsort(time, kind="stable")[100:1000:10]] = time.max() + 1
    at = table.schema.get_field_index("timestamp")
    changed = table.set_column(at, table.schema.field(at), pa.array(time, table.schema.field(at).type))
    return replace(data, interactions=dataset_of(changed))


def recipe_of(folder: Path) -> Recipe:
    return Recipe.from_plain(read_yaml(folder / "recipe.yaml"))


def tables_of(folder: Path) -> dict[str, torch.Tensor]:
    name = "baseline."
    saved = load_file(folder / "signals.safetensors").items()
    return {key.removeprefix(name): tensor for key, tensor in saved if key.startswith(name)}


def factor_of(folder: Path) -> float:
    """What one unit of a run's baseline adds to its score: the weight of its tables, and the head's scale."""
    head = load_file(folder / "head.safetensors")
    temperature = next(float(tensor.exp()) for name, tensor in head.items() if name.endswith("log_temperature"))
    tables = tables_of(folder)
    weight = next((float(tensor) for name, tensor in tables.items() if name.endswith(".weight")), None)
    if weight is not None:
        return weight / temperature
    offset = tables["tables.item_offset"]
    return float(offset[1:].sum() / learned(folder).counts_by_item(len(offset))[1:].sum()) / temperature


def learned(folder: Path) -> Any:
    return read_learned(folder / "seen.safetensors", (folder / "seen.safetensors").read_bytes())


@pytest.mark.trains
def test_updated_run_serves_the_same_share_of_the_same_baseline(
    run: Path, updated: Measured, films: RecDataset, tmp_path: Path
) -> None:
    folder = updated[0]
    assert recipe_of(folder).served == recipe_of(run).served
    assert factor_of(folder) == pytest.approx(factor_of(run), rel=1e-4)
    update(folder, None, tmp_path / "next", QUIET, films)
    assert recipe_of(tmp_path / "next").served == recipe_of(run).served
    assert factor_of(tmp_path / "next") == pytest.approx(factor_of(run), rel=1e-4)


@pytest.mark.trains
def test_baseline_is_counted_on_old_and_new_interactions(run: Path, updated: Measured) -> None:
    folder = updated[0]
    known, tables = learned(folder), tables_of(folder)
    assert len(known) > len(learned(run))
    items = read_vocabulary(folder / "catalogue.safetensors").num_items
    assert items > read_vocabulary(run / "catalogue.safetensors").num_items
    if "tables.item_offset" in tables:
        offset, counts = tables["tables.item_offset"], known.counts_by_item(items)
        weight = offset[1:].sum() / counts[1:].sum()
        np.testing.assert_allclose(offset[1:] / weight, counts[1:], rtol=1e-4, atol=1e-4)
    elif "tables.pair" in tables:
        found, pair = np.zeros((items, items)), tables["tables.pair"].numpy()
        found[pair[:, 0], pair[:, 1]] = tables["tables.count"]
        np.testing.assert_array_equal(found, neighbour_counts(known, items).toarray())
    else:
        for name, tensor in link_table(strongest(transitions(known, items), STRONGEST)).items():
            assert torch.equal(tables[f"follows.{name}"], tensor.detach()), name
        assert len(tables["alike.begin"]) == items + 1


@pytest.mark.trains
def test_run_is_compared_with_its_baseline_as_it_was(run: Path, updated: Measured) -> None:
    """What the run as it was is compared with is what its folder answers, for the users and items that it knows."""
    _, models, prepared = updated
    recommender = Recommender.from_pretrained(run)
    users, items = recommender.vocabulary.num_users, recommender.vocabulary.num_items
    histories = prepared.test.history
    assert histories is not None
    told = [histories.item[slice(*bounds)] for bounds in zip(histories.begin, histories.end, strict=True)]
    largest = np.array([max(one, default=0) for one in told])
    rows = np.flatnonzero((prepared.test.user < users) & (prepared.test.item < items) & (largest < items))
    assert len(rows) > 5
    part = prepared.test.take(rows)
    names = prepared.vocabulary.item_ids
    given = [[(name, 1.0) for name in names(told[row])] for row in rows]
    answered = recommender.score(*prepared.ids(part), histories=given)
    np.testing.assert_allclose(raw_scores(models["before"], part, "ranking"), answered, atol=1e-3)


@pytest.mark.trains
def test_baseline_as_it_was_counts_what_the_newer_data_has_replaced(
    run: Path, films: RecDataset, tmp_path: Path
) -> None:
    _, models, prepared = measured(run, tmp_path / "new", seen_again(until(films, 0.8)))
    was, now = tables_of(run), models["before"].signals["baseline"].parts.state_dict()
    assert was.keys() == now.keys()
    for name, tensor in was.items():
        assert torch.equal(now[name][: len(tensor)], tensor), name
        more = now[name][len(tensor) :]
        assert not (more.diff() if name.endswith(".begin") else more).any(), f"{name}: nothing is known of new items"
    rows = {"tables.item_offset": 0, "follows.begin": 1}
    for name, extra in rows.items():
        if name in now:
            assert len(now[name]) == prepared.vocabulary.num_items + extra > len(was[name])


@pytest.mark.trains
def test_updated_run_answers_new_users_as_it_was_measured(updated: Measured, run: Path) -> None:
    """Ranks of the newest window, of users that have nothing in the old one: their histories are what the run knows."""
    folder = updated[0]
    recommender = Recommender.from_pretrained(folder)
    told = read_predictions(folder / "predictions.parquet")
    old = set(read_predictions(run / "predictions.parquet").user)
    vocabulary = recommender.vocabulary
    known = {tuple(pair) for pair in np.stack([learned(folder).user, learned(folder).item], axis=1).tolist()}
    ranks = told.heads["ranking"].models["after"]
    rows = [at for at, user in enumerate(told.user) if user not in old][:8]
    assert rows
    for at in rows:
        user = vocabulary.user_indices([told.user[at]])[0]
        others = [
            item
            for place, item in enumerate(vocabulary.items, start=1)
            if item == told.item[at] or (user, place) not in known
        ]
        scores = np.asarray(recommender.score([told.user[at]] * len(others), others))
        own = scores[others.index(told.item[at])]
        assert abs(int((scores > own + 1e-3).sum()) + 1 - ranks[at]) <= (np.abs(scores - own) <= 1e-3).sum()
    new = vocabulary.users[-1]
    assert new not in read_vocabulary(run / "catalogue.safetensors").users
    assert recommender.recommend([new], 5)[0].basis == "personal"


@pytest.mark.trains
def test_tables_of_a_stranger_that_do_not_fit_are_refused(run: Path, films: RecDataset, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(run, broken)
    saved = load_file(broken / "signals.safetensors")
    name = next(name for name in saved if name in SIZED)
    saved[name] = torch.cat([saved[name], saved[name][-1:]])
    with safe_open(broken / "signals.safetensors", "pt") as file:
        header = file.metadata()
    save_file(saved, broken / "signals.safetensors", header)
    with pytest.raises(InputError, match=r"signals\.safetensors: "):
        update(resealed(broken), None, tmp_path / "new", QUIET, until(films, 0.8))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken"]


def test_baseline_that_no_ranking_answers_with_is_refused() -> None:
    served = {"share": 0.1, "baseline": "text_cosine", "settings": {"length": 5}}
    recipe = load_recipe("movies-ranking", [], {"data.path": "demo", "served": served})
    with pytest.raises(InputError, match=r"served\.baseline: 'text_cosine' is no baseline that a ranking answers with"):
        recipe_to_update(recipe)
    assert recipe_to_update(recipe.changed({"served": {**served, "baseline": "popularity", "settings": {}}}))
