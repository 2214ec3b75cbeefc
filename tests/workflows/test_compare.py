"""Comparing groups of runs: what made the difference, said in plain words, and runs that cannot be paired refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from resealed import resealed

from llmrec_peft.artifact.predictions import NAME, HeadPredictions, Predictions, read_predictions, write_predictions
from llmrec_peft.errors import InputError
from llmrec_peft.recipe import load_recipe
from llmrec_peft.workflows.compare import compare
from llmrec_peft.workflows.train import train

pytestmark = pytest.mark.trains

Command = Callable[..., subprocess.CompletedProcess[str]]
SEEDS = (1, 2, 3, 4)


@pytest.fixture(scope="module")
def runs(tiny_data: Path, tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four runs of one recipe, a seed each, of an epoch each."""
    folder = tmp_path_factory.mktemp("runs")
    settings = ["training.epochs=1", "training.refit=false", "evaluation.bootstrap=0", "evaluation.blend=true"]
    made = []
    for seed in SEEDS:
        changes = [f"backbone.name={tiny_backbone}", f"seed={seed}", *settings]
        recipe = load_recipe("movies", changes, {"data.path": str(tiny_data)})
        train(recipe, folder / f"seed{seed}", show=False)
        made.append(folder / f"seed{seed}")
    return made


def names(folders: Sequence[Path]) -> list[str]:
    return [str(folder) for folder in folders]


def test_run_keeps_what_its_models_said_and_the_figures_are_those_of_the_report(runs: list[Path]) -> None:
    said = read_predictions(runs[0] / NAME)
    metrics = json.loads((runs[0] / "metrics.json").read_text(encoding="utf-8"))
    head = said.heads["rating"]
    assert len(said) == metrics["data"]["test"]
    assert (head.task, head.metric, head.best_baseline) == ("rating", "rmse", metrics["best_baseline"])
    expected = {name: metrics["test"][name]["rmse"] for name in ("before", "after", "blend")}
    expected |= {name: row["rmse"] for name, row in metrics["test"]["baselines"].items()}
    found = {name: float(np.sqrt(np.mean((values - said.label) ** 2))) for name, values in head.models.items()}
    assert found == pytest.approx(expected, abs=1e-5)


def test_predictions_change_no_digest_and_are_no_part_of_the_version(runs: list[Path], tmp_path: Path) -> None:
    from llmrec_peft.artifact.manifest import read_manifest

    copy = shutil.copytree(runs[0], tmp_path / "copy")
    (copy / NAME).unlink()
    assert read_manifest(copy).digest == read_manifest(runs[0]).digest


def test_two_groups_of_one_recipe_are_no_different(runs: list[Path]) -> None:
    report = compare(runs[:2], names(runs[2:]), resamples=300)
    assert report["verdict"] == "no difference"
    assert report["conclusion"] == (
        "no significant difference in rmse (paired bootstrap, 95 %): the interval by user and by item contains zero"
    )
    assert report["notes"] == []
    for side in ("first", "second"):
        assert len(report[side]["figures"]) == 2
        assert report[side]["mean"] == pytest.approx(np.mean(report[side]["figures"]))
        assert report[side]["spread"] == pytest.approx(np.std(report[side]["figures"], ddof=1))
    assert report["difference"] == pytest.approx(report["first"]["mean"] - report["second"]["mean"])
    for found in report["intervals"].values():
        assert found["low"] <= 0.0 <= found["high"]
        assert (found["first_seeds"], found["second_seeds"]) == (2, 2)


def test_group_against_its_own_line_names_the_line(runs: list[Path]) -> None:
    report = compare(runs[:2], ["baseline:line"], resamples=300)
    metrics = json.loads((runs[0] / "metrics.json").read_text(encoding="utf-8"))
    assert report["second"]["model"] == metrics["best_baseline"]
    assert report["second"]["spread"] == 0.0, "the same predictions whatever the seed"
    assert compare(runs[:2], ["baseline:before"], resamples=300)["second"]["model"] == "before"


def test_group_against_its_own_baseline_says_by_how_much_and_which_is_better(runs: list[Path], tmp_path: Path) -> None:
    ours = []
    for number, run in enumerate(runs[:2]):
        ours.append(shutil.copytree(run, tmp_path / run.name))
        said = read_predictions(run / NAME)
        noise = np.random.default_rng(number).normal(size=len(said))
        models = {"after": said.label + 0.1 * noise, "far": said.label + 1.0}
        heads = {"rating": HeadPredictions("rating", "rmse", "far", said.label, models)}
        write_predictions(ours[-1] / NAME, Predictions(said.user, said.item, said.label, heads))
        resealed(ours[-1])
    report = compare(ours, ["baseline:line"], resamples=300)
    assert (report["verdict"], report["difference"]) == ("first is better", pytest.approx(-0.9, abs=0.02))
    better = "is significantly better (paired bootstrap, 95 %): the first's rmse is"
    assert report["conclusion"] == f"first {better} lower by {-report['difference']:.4f}"
    assert all(found["low"] < report["difference"] < found["high"] < 0 for found in report["intervals"].values())
    turned = compare(ours, ["baseline:after"], model="far", resamples=300)
    assert turned["conclusion"] == f"second {better} higher by {-report['difference']:.4f}"


def test_another_metric_and_another_model_are_compared(runs: list[Path]) -> None:
    report = compare(runs[:2], names(runs[2:4]), metric="mae", model="blend", resamples=200)
    assert (report["metric"], report["lower_is_better"], report["first"]["model"]) == ("mae", True, "blend")


def test_one_run_a_side_says_that_the_spread_of_seeds_is_unknown(runs: list[Path]) -> None:
    report = compare(runs[:1], names(runs[1:2]), resamples=200)
    assert report["first"]["spread"] is report["second"]["spread"] is None
    assert report["notes"] == ["one run a side: how far another seed would be from it is not known"]


def test_recipes_that_differ_inside_a_group_are_named(runs: list[Path], tmp_path: Path) -> None:
    copy = shutil.copytree(runs[1], tmp_path / "copy")
    text = (copy / "recipe.yaml").read_text(encoding="utf-8")
    (copy / "recipe.yaml").write_text(text.replace("warmup: 0.02", "warmup: 0.5"), encoding="utf-8")
    report = compare([runs[0], resealed(copy)], names(runs[2:4]), resamples=200)
    assert report["notes"] == ["the first group's recipes differ in more than their seeds: training.warmup"]


def test_rankings_and_clicks_are_compared_by_their_own_metrics(runs: list[Path], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    users = [f"u{at % 40}" for at in range(400)]
    items = [f"i{at % 25}" for at in range(400)]
    clicked = rng.integers(0, 2, 400).astype(np.float32)
    for number in range(4):
        folder = shutil.copytree(runs[number], tmp_path / f"run{number}")
        good = clicked + rng.normal(size=400) * (0.5 if number < 2 else 3.0)
        ranks = 1.0 + rng.integers(0, 20 if number < 2 else 200, 400)
        heads = {
            "click": HeadPredictions("click", "auc", "popular", clicked, {"after": good, "popular": 0.0 * good}),
            "ranking": HeadPredictions("ranking", "ndcg@10", None, clicked, {"after": ranks}),
        }
        write_predictions(folder / NAME, Predictions(users, items, clicked, heads))
        resealed(folder)
    ours, theirs = [tmp_path / "run0", tmp_path / "run1"], names([tmp_path / "run2", tmp_path / "run3"])
    by_auc = compare(ours, theirs, resamples=200)
    assert (by_auc["metric"], by_auc["verdict"], by_auc["lower_is_better"]) == ("auc", "first is better", False)
    assert set(compare(ours, theirs, metric="uauc", resamples=200)["intervals"]) == {"by_user"}
    assert compare(ours, theirs, head="ranking", resamples=200)["verdict"] == "first is better"
    assert compare(ours, theirs, metric="mrr", head="ranking", resamples=200)["metric"] == "mrr"
    with pytest.raises(InputError, match="metric 'coverage@10': of ranking heads these can be compared: ndcg@10"):
        compare(ours, theirs, metric="coverage@10", head="ranking")
    with pytest.raises(InputError, match="has no trivial baseline"):
        compare(ours, ["baseline:line"], head="ranking")


def test_order_of_the_examples_does_not_matter(runs: list[Path], tmp_path: Path) -> None:
    copy = shutil.copytree(runs[1], tmp_path / "copy")
    said = read_predictions(copy / NAME)
    rows = np.random.default_rng(0).permutation(len(said))
    heads = {name: head.take(rows) for name, head in said.heads.items()}
    turned = Predictions([said.user[at] for at in rows], [said.item[at] for at in rows], said.label[rows], heads)
    write_predictions(copy / NAME, turned)
    resealed(copy)
    expected = compare(runs[:1], names(runs[1:2]), resamples=200)
    found = compare(runs[:1], [str(copy)], resamples=200)
    assert found["difference"] == pytest.approx(expected["difference"])
    assert found["intervals"] == expected["intervals"]


def _other_examples(run: Path) -> None:
    said = read_predictions(run / NAME)
    rows = np.arange(len(said) - 5)
    heads = {name: head.take(rows) for name, head in said.heads.items()}
    write_predictions(run / NAME, Predictions(said.user[:-5], said.item[:-5], said.label[:-5], heads))
    resealed(run)


def _other_protocol(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    metrics["protocol"]["labels_counted"] = "prequential"
    (run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    resealed(run)


def _other_labels(run: Path) -> None:
    said = read_predictions(run / NAME)
    head = said.heads["rating"]
    changed = HeadPredictions(head.task, head.metric, head.best_baseline, head.observed + 1.0, head.models)
    write_predictions(run / NAME, Predictions(said.user, said.item, said.label, {"rating": changed}))
    resealed(run)


def _other_persons(run: Path) -> None:
    said = read_predictions(run / NAME)
    person = np.arange(len(said), dtype=np.int64) % 3
    write_predictions(run / NAME, Predictions(said.user, said.item, said.label, said.heads, person))
    resealed(run)


def _no_task(run: Path) -> None:
    said = read_predictions(run / NAME)
    head = said.heads["rating"]
    heads = {"rating": HeadPredictions("guess", head.metric, head.best_baseline, head.observed, head.models)}
    write_predictions(run / NAME, Predictions(said.user, said.item, said.label, heads))
    resealed(run)


def _no_table(run: Path) -> None:
    (run / NAME).write_bytes(b"PAR1")
    resealed(run)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_other_examples, r"was tested on other examples \(\d+\) than .*: only runs with the same test part"),
        (_other_protocol, "was measured otherwise than .*: labels_counted is prequential, not"),
        (_other_labels, "answers another question than .*: labels count from elsewhere"),
        (_other_persons, "says of other examples than .* that they are one person's"),
        (_no_task, "'guess' is no task"),
        (lambda run: (run / NAME).unlink(), r"has no predictions\.parquet: .* train it again"),
        (lambda run: (run / NAME).write_bytes(b"PAR1"), r"predictions\.parquet is not what the run wrote"),
        (_no_table, r"predictions\.parquet: not the table it should be"),
        (lambda run: (run / "metrics.json").unlink(), r"metrics\.json is missing"),
        (lambda run: (run / "manifest.json").unlink(), "is no run folder"),
        (shutil.rmtree, "no run folder"),
    ],
)
def test_runs_that_cannot_be_paired_are_refused(
    runs: list[Path], tmp_path: Path, spoil: Callable[[Path], Any], message: str
) -> None:
    copy = shutil.copytree(runs[1], tmp_path / "copy")
    spoil(copy)
    with pytest.raises(InputError, match=message):
        compare(runs[:1], [str(copy)])


def test_persons_count_as_the_same_however_they_are_numbered(runs: list[Path], tmp_path: Path) -> None:
    copies = []
    for at, run in enumerate(runs[:2]):
        said = read_predictions(run / NAME)
        person = (np.unique(said.user, return_inverse=True)[1].astype(np.int64) // 2) * (3 - 7 * at) + 5
        copies.append(shutil.copytree(run, tmp_path / run.name))
        write_predictions(copies[-1] / NAME, Predictions(said.user, said.item, said.label, said.heads, person))
        resealed(copies[-1])
    assert "by_person" in compare(copies[:1], names(copies[1:]), resamples=200)["intervals"]


def test_ids_that_differ_in_their_end_alone_stay_apart() -> None:
    label = np.array([1.0, 2.0], np.float32)
    ordered = Predictions(["u\0", "u"], ["i", "i\0"], label, {}).in_order()
    assert (ordered.user, ordered.item) == (["u", "u\0"], ["i\0", "i"])
    assert ordered.label.tolist() == [2.0, 1.0]


def test_one_long_id_takes_no_more_than_its_own_room() -> None:
    long = "u" * 10_000_000
    ids = [f"u{at}" for at in range(5_000)] + [long]
    label = np.zeros(len(ids), np.float32)
    tracemalloc.start()
    try:
        Predictions(ids, ids, label, {}).in_order()
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


def test_wrong_choices_are_refused(runs: list[Path]) -> None:
    for arguments, message in (
        ({"against": []}, "give runs on both sides"),
        ({"against": names(runs[:1])}, "are the same run"),
        ({"against": ["baseline:line", "baseline:before"]}, "stands for one group by itself"),
        ({"against": ["baseline:befroe"]}, "has no model 'befroe': did you mean 'before'"),
        ({"against": names(runs[1:2]), "metric": "auc"}, "metric 'auc': of rating heads these can be compared: rmse"),
        ({"against": names(runs[1:2]), "model": "afetr"}, "has no model 'afetr': did you mean 'after'"),
        ({"against": names(runs[1:2]), "head": "click"}, "has no head 'click'"),
    ):
        with pytest.raises(InputError, match=message):
            compare(runs[:1], **arguments)


def test_command_takes_two_groups_as_typed_and_speaks_plainly(runs: list[Path], llmrec: Command) -> None:
    done = llmrec("compare", *runs[:2], "--against", *runs[2:], "--resamples", 200)
    assert done.returncode == 0, done.stderr
    assert "rmse of" in done.stdout
    assert "no significant difference in rmse (paired bootstrap, 95 %)" in done.stdout
    done = llmrec("compare", "--against", *runs[2:], "--metric", "mae", "--resamples", 200, "--json", *runs[:2])
    report = json.loads(done.stdout)
    assert [len(report[side]["runs"]) for side in ("first", "second")] == [2, 2]
    assert report["metric"] == "mae"


def test_command_refuses_in_one_line(runs: list[Path], llmrec: Command, tmp_path: Path) -> None:
    for arguments in ([*runs[:1]], [*runs[:1], "--against", tmp_path], [*runs[:1], "--against", runs[0]]):
        done = llmrec("compare", *arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
