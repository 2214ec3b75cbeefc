"""`llmrec update`: a run goes on with newer data, old rows keep their index, and nothing is lost on the way."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from growing_films import changes, growing_films, until
from resealed import resealed

from llmrec_peft import Recommender
from llmrec_peft.artifact.catalogue_file import read_vocabulary
from llmrec_peft.artifact.figures import figure_rows
from llmrec_peft.artifact.manifest import read_manifest
from llmrec_peft.artifact.predictions import read_predictions
from llmrec_peft.artifact.seen import read_learned
from llmrec_peft.artifact.workspace import Workspace
from llmrec_peft.data.dataset import RecDataset, arrow, column, numbers, selected
from llmrec_peft.errors import InputError
from llmrec_peft.page.run_report import read_run
from llmrec_peft.recipe import Recipe, load_recipe
from llmrec_peft.recipe.yaml_file import read_yaml
from llmrec_peft.training.checkpoint import Checkpoint
from llmrec_peft.workflows.compare import compare
from llmrec_peft.workflows.evaluate import evaluate
from llmrec_peft.workflows.lineage import lineage
from llmrec_peft.workflows.train import train
from llmrec_peft.workflows.update import Asked, update

pytestmark = pytest.mark.trains

QUIET = Asked(force=True, show=False)


@pytest.fixture(scope="module")
def films() -> RecDataset:
    """Made-up films, some of which come later."""
    return growing_films()


@pytest.fixture(scope="module")
def first(films: RecDataset, tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the first half of the made-up ratings."""
    folder = tmp_path_factory.mktemp("lineage") / "films"
    train(load_recipe("movies", [], changes(tiny_backbone)), folder, show=False, dataset=until(films, 0.5))
    return folder


@pytest.fixture(scope="module")
def second(films: RecDataset, first: Path) -> Path:
    """The same run, updated with everything up to four fifths."""
    folder = first.with_name("films-u1")
    update(first, None, folder, QUIET, until(films, 0.8))
    return folder


def test_old_users_and_items_keep_their_index_and_new_ones_follow(first: Path, second: Path) -> None:
    before, after = (read_vocabulary(run / "catalogue.safetensors") for run in (first, second))
    assert after.users[: len(before.users)] == before.users
    assert after.items[: len(before.items)] == before.items
    assert len(after.users) + len(after.items) > len(before.users) + len(before.items)


def test_updated_run_answers_for_new_users_and_its_parent_is_untouched(
    films: RecDataset, first: Path, tmp_path: Path
) -> None:
    before = {path.name: path.read_bytes() for path in first.iterdir()}
    metrics = update(first, None, tmp_path / "new", QUIET, until(films, 0.8))
    assert {path.name: path.read_bytes() for path in first.iterdir()} == before
    recommender = Recommender.from_pretrained(tmp_path / "new")
    known = set(read_vocabulary(first / "catalogue.safetensors").users)
    new = next(user for user in recommender.vocabulary.users if user not in known)
    assert recommender.recommend([new], 5)[0].basis == "personal"
    assert metrics["update"]["users"] == len(recommender.vocabulary.users)


def test_windows_are_learned_by_nobody(films: RecDataset, first: Path, second: Path) -> None:
    tested = {tuple(pair) for pair in _pairs(first / "predictions.parquet", "user_id", "item_id")}
    newest = {tuple(pair) for pair in _pairs(second / "predictions.parquet", "user_id", "item_id")}
    vocabulary = read_vocabulary(second / "catalogue.safetensors")
    seen = _learned(second)
    learned = {(vocabulary.users[user - 1], vocabulary.items[item - 1]) for user, item in seen}
    told = json.loads((second / "metrics.json").read_text(encoding="utf-8"))["update"]
    assert not learned & newest
    assert len(newest) == told["newest"]["examples"]
    assert len(tested - learned - newest) == told["old"]["examples"]
    assert abs(told["old"]["examples"] - told["newest"]["examples"]) <= 1
    assert (tested & learned) or (tested & newest), "more were tested than the window takes"
    assert len(learned) == told["learned"]


def test_known_interactions_are_recognized_so_new_ones_alone_give_the_same_run(
    films: RecDataset, first: Path, tmp_path: Path
) -> None:
    whole = update(first, None, tmp_path / "whole", QUIET, until(films, 0.8))["update"]
    seen = set(map(tuple, _learned(first)))
    vocabulary = read_vocabulary(first / "catalogue.safetensors")
    known = {(vocabulary.users[user - 1], vocabulary.items[item - 1]) for user, item in seen}
    data = until(films, 0.8)
    pairs = zip(column(data.interactions, "user_id"), column(data.interactions, "item_id"), strict=True)
    rows = np.array([at for at, pair in enumerate(pairs) if pair not in known])
    alone = update(
        first, None, tmp_path / "alone", QUIET, replace(data, interactions=selected(data.interactions, rows))
    )["update"]
    assert alone["data"] == whole["data"]
    assert read_manifest(tmp_path / "alone").digest == read_manifest(tmp_path / "whole").digest


def test_item_that_the_newer_data_does_not_describe_keeps_its_title_and_text(
    films: RecDataset, first: Path, tmp_path: Path
) -> None:
    data = until(films, 0.8, after=0.5)
    old = read_vocabulary(first / "catalogue.safetensors").items[0]
    lacking = np.array([at for at, one in enumerate(column(data.items, "item_id")) if one != old])
    rows = np.array([at for at, one in enumerate(column(data.interactions, "item_id")) if one != old])
    data = replace(data, items=selected(data.items, lacking), interactions=selected(data.interactions, rows))
    update(first, None, tmp_path / "new", QUIET, data)
    before, after = (Recommender.from_pretrained(run).items for run in (first, tmp_path / "new"))
    assert after.titles[0] == before.titles[0] != ""
    assert after.texts[0] == before.texts[0] != ""


def test_updated_run_is_shown_and_compared_and_says_why_it_is_not_evaluated_again(second: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="was updated: its test part is the newest window"):
        evaluate(second)
    told = json.loads((second / "metrics.json").read_text(encoding="utf-8"))
    report = compare([second], ["baseline:before"])
    assert report["first"]["mean"] == pytest.approx(told["update"]["newest"]["after"])
    assert report["second"]["mean"] == pytest.approx(told["update"]["newest"]["before"])
    assert {row.label for row in figure_rows(told)} == {"before: the run as it was", "after: tuned"}
    assert read_run(second).report.before == "run"
    assert "from run" in (second / "README.md").read_text(encoding="utf-8")


def test_without_new_interactions_there_is_nothing_to_learn(films: RecDataset, first: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\d+ interactions are new to .*films: too few to learn from"):
        update(first, None, tmp_path / "new", Asked(show=False), until(films, 0.3))
    assert not list(tmp_path.iterdir())


def test_update_that_is_not_better_is_not_written_unless_forced(films: RecDataset, first: Path, tmp_path: Path) -> None:
    data = until(films, 0.8)
    noise = replace(data, interactions=_shuffled(data))
    asked = replace(QUIET, force=False)
    metrics = update(first, None, tmp_path / "new", asked, noise)
    assert not metrics["update"]["promoted"]
    assert "not significantly different" in metrics["update"]["reason"] or "worse" in metrics["update"]["reason"]
    assert not list(tmp_path.iterdir())
    update(first, None, tmp_path / "new", QUIET, noise)
    told = json.loads((tmp_path / "new" / "lineage.json").read_text(encoding="utf-8"))["steps"]
    assert [step["forced"] for step in told] == [False, True]


def test_killed_in_training_it_goes_on_to_the_same_bytes(
    films: RecDataset, first: Path, second: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    often = replace(QUIET, overrides=("update.epochs=3",))
    update(first, None, tmp_path / "whole", often, until(films, 0.8))
    out, real = tmp_path / "killed", Checkpoint.save

    class KilledError(Exception):
        pass

    def save(self: Checkpoint, *arguments: Any) -> None:
        real(self, *arguments)
        raise KilledError

    monkeypatch.setattr(Checkpoint, "save", save)
    with pytest.raises(KilledError):
        update(first, None, out, often, until(films, 0.8))
    assert Workspace(out, "training").resumable
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"--resume goes on"):
        update(first, None, out, often, until(films, 0.8))
    with pytest.raises(InputError, match=r"begun otherwise: .*the run that it goes on from is another"):
        update(second, None, out, replace(often, resume=True), until(films, 1.0))
    update(first, None, out, replace(often, resume=True), until(films, 0.8))
    assert read_manifest(out).digest == read_manifest(tmp_path / "whole").digest
    again = update(first, None, out, replace(often, resume=True), until(films, 0.8))
    assert again["update"]["parent"] == read_manifest(first).digest


def test_interrupted_update_over_a_finished_one_is_not_called_finished(
    films: RecDataset, first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "new"
    update(first, None, out, QUIET, until(films, 0.8))

    class KilledError(Exception):
        pass

    def killed(*_: Any) -> None:
        raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(Checkpoint, "save", killed)
        update(first, None, out, replace(QUIET, overwrite=True, overrides=("update.epochs=3",)), until(films, 0.8))
    with pytest.raises(InputError, match=r"interrupted run that was to replace it is there"):
        update(first, None, out, replace(QUIET, resume=True), until(films, 0.8))
    assert Workspace(out, "training").resumable, "a refusal throws nobody's checkpoints away"


@pytest.mark.parametrize("policy", ["newest", "by-user"])
def test_policies_and_distillation_train(policy: str, films: RecDataset, first: Path, tmp_path: Path) -> None:
    sets = (f"update.policy={policy}", "update.replay=0.3", "update.distill=1.0")
    told = update(first, None, tmp_path / "new", replace(QUIET, overrides=sets), until(films, 0.8))["update"]
    assert told["replayed"] == round(told["new"] * 0.3 / 0.7)


def test_distillation_keeps_to_what_the_run_said(films: RecDataset, first: Path, tmp_path: Path) -> None:
    moved = {}
    vocabulary = read_vocabulary(first / "catalogue.safetensors")
    users, items = (names[:20] for names in (vocabulary.users, vocabulary.items))
    before = Recommender.from_pretrained(first).score(list(users), list(items))
    for weight in (0.0, 100.0):
        out = tmp_path / f"by{weight:g}"
        sets = (f"update.distill={weight}", "update.epochs=6", "update.adapter_epochs=0", "update.replay=0.5")
        update(first, None, out, replace(QUIET, overrides=sets), until(films, 0.8))
        now = Recommender.from_pretrained(out).score(list(users), list(items))
        moved[weight] = float(np.abs(now - before).mean())
    assert moved[100.0] < moved[0.0]


@pytest.mark.parametrize("name", ["seen.safetensors", "predictions.parquet", "trained.safetensors"])
def test_private_file_that_was_withheld_is_named(name: str, first: Path, tmp_path: Path, films: RecDataset) -> None:
    run = tmp_path / "published"
    shutil.copytree(first, run)
    (run / name).unlink()
    with pytest.raises(InputError, match=rf"{name} is missing, .*: it is private and was not passed on"):
        update(run, None, tmp_path / "new", Asked(show=False), until(films, 0.8))


def test_weights_that_are_not_finite_are_refused(first: Path, tmp_path: Path, films: RecDataset) -> None:
    from safetensors.torch import load_file, save_file

    run = tmp_path / "broken"
    shutil.copytree(first, run)
    tensors = load_file(run / "trained.safetensors")
    name = next(name for name, tensor in tensors.items() if tensor.ndim == 2)
    tensors[name][0, 0] = float("nan")
    save_file(tensors, run / "trained.safetensors")
    with pytest.raises(InputError, match="holds NaN or infinity"):
        update(resealed(run), None, tmp_path / "new", Asked(show=False), until(films, 0.8))


def test_only_fields_of_update_and_of_where_the_data_is_can_be_set(first: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--set training\.epochs: an update goes on with the run's own recipe"):
        update(first, "demo", tmp_path / "new", Asked(overrides=("training.epochs=3",), show=False))


def test_ranking_goes_on_with_a_larger_catalogue(films: RecDataset, tiny_backbone: Path, tmp_path: Path) -> None:
    told = changes(tiny_backbone, **{"data.split": "leave-last-out", "evaluation.blend": False})
    train(load_recipe("movies-ranking", [], told), tmp_path / "run", show=False, dataset=until(films, 0.5))
    metrics = update(tmp_path / "run", None, tmp_path / "new", QUIET, until(films, 0.8))
    assert metrics["update"]["metric"] == "ndcg@10"
    assert metrics["data"]["items"] > len(read_vocabulary(tmp_path / "run" / "catalogue.safetensors").items)
    recommender = Recommender.from_pretrained(tmp_path / "new")
    assert len(recommender.recommend([recommender.vocabulary.users[-1]], 5)[0].items) == 5


def test_own_files_go_on_with_the_share_of_a_baseline_that_was_served(
    films: RecDataset, tiny_backbone: Path, tmp_path: Path
) -> None:
    """A few hundred ratings: folds choose what answers, and the update keeps it."""
    for name, share in (("old", 0.1), ("new", 0.2)):
        data = until(films, share)
        (tmp_path / name).mkdir()
        for table in ("interactions", "items"):
            rows = arrow(getattr(data, table)).to_pandas()
            kept = ["user_id", "item_id", "rating", "timestamp"] if table == "interactions" else ["item_id", "title"]
            rows[kept].to_csv(tmp_path / name / f"{table}.csv", index=False)
    columns = {"user": "user_id", "item": "item_id", "label": "rating", "time": "timestamp"}
    recipe = load_recipe("movies", [], changes(tiny_backbone, **{"training.choice": "folds", "training.epochs": 2}))
    values = recipe.plain()
    values["data"] |= {"reader": "files", "path": str(tmp_path / "old")}
    values["data"]["options"] = {
        "feedback": "rating",
        "interactions": {"file": "interactions.csv", **columns},
        "items": {"file": "items.csv", "id": "item_id", "title": "title"},
    }
    values["views"]["item"]["template"] = "{{ title }}"
    train(Recipe.from_plain(values), tmp_path / "run", show=False)
    served = Recipe.from_plain(read_yaml(tmp_path / "run" / "recipe.yaml")).served
    assert served is not None
    update(tmp_path / "run", str(tmp_path / "new"), tmp_path / "updated", QUIET)
    after = Recipe.from_plain(read_yaml(tmp_path / "updated" / "recipe.yaml"))
    assert after.served is not None
    names = ("variant", "share", "baseline")
    assert [getattr(after.served, name) for name in names] == [getattr(served, name) for name in names]
    assert after.data.path == str(tmp_path / "new")
    recommender = Recommender.from_pretrained(tmp_path / "updated")
    told = read_predictions(tmp_path / "updated" / "predictions.parquet")
    said = told.heads["rating"].models["after"]
    assert recommender.score(list(told.user), list(told.item)) == pytest.approx(said, abs=2e-3)


def test_lineage_names_every_run_and_draws_branches(
    films: RecDataset, first: Path, second: Path, tmp_path: Path
) -> None:
    third = first.with_name("films-u2")
    update(second, None, third, replace(QUIET, overwrite=True), films)
    branch = first.with_name("films-other")
    update(first, None, branch, replace(QUIET, overwrite=True, overrides=("update.epochs=1",)), films)
    told = lineage(third)
    digests = [read_manifest(run).digest for run in (first, second, third)]
    assert told["lineage"] == digests
    parents = {node["folder"].rpartition("/")[2]: node["parent"] for node in told["runs"]}
    assert parents == {"films": None, "films-u1": digests[0], "films-u2": digests[1], "films-other": digests[0]}
    assert [node["learned"] for node in told["runs"][:3]] == sorted(node["learned"] for node in told["runs"][:3])
    alone = tmp_path / "films"
    shutil.copytree(first, alone)
    assert [node["parent"] for node in lineage(alone)["runs"]] == [None]


def test_lineage_of_a_stranger_is_bounded(second: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(second, run)
    told = json.loads((run / "lineage.json").read_text(encoding="utf-8"))
    for wrong, said in (
        ({"steps": told["steps"] * 200}, "steps"),
        ({"steps": []}, "steps"),
        ({"steps": [{**told["steps"][0], "digest": "../../etc"}]}, "digest"),
    ):
        (run / "lineage.json").write_text(json.dumps(wrong), encoding="utf-8")
        with pytest.raises(InputError, match=said):
            lineage(resealed(run))


def _shuffled(data: RecDataset) -> Any:
    """Return the interactions, those after the first half with each other's ratings."""
    from llmrec_peft.data.tables import dataset_of

    table = arrow(data.interactions)
    rating = np.asarray(numbers(data.interactions, "rating")).copy()
    time = np.asarray(numbers(data.interactions, "timestamp"))
    late = np.flatnonzero(time > np.quantile(time, 0.6))
    rating[late] = np.random.default_rng(0).permutation(rating[late])
    at = table.schema.get_field_index("rating")
    return dataset_of(table.set_column(at, table.schema.field(at), pa.array(rating, pa.float32())))


def _learned(run: Path) -> list[list[int]]:
    learned = read_learned(run / "seen.safetensors")
    assert learned is not None
    return [list(pair) for pair in zip(learned.user.tolist(), learned.item.tolist(), strict=True)]


def _pairs(path: Path, *names: str) -> list[list[Any]]:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    return [list(pair) for pair in zip(*(table.column(name).to_pylist() for name in names), strict=True)]
