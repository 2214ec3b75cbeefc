"""Which method a report advises: the cheapest that is not worse than the best beyond noise, or the best baseline."""

from __future__ import annotations

from typing import Any

import pytest
from made_up_rows import MATRIX, made_up_row, rows_of

from llmrec_peft.benchmark.advice import advice
from llmrec_peft.benchmark.grouping import groups_of
from llmrec_peft.benchmark.noise import over_runs
from llmrec_peft.benchmark.sections import Published
from llmrec_peft.benchmark.tasks import Task, tasks_of


def the_task(rows: list[dict[str, Any]]) -> Task:
    (task,) = tasks_of(groups_of(rows), MATRIX)
    return task


def advised(figures: dict[str, list[float]]) -> str:
    return " ".join(advice(the_task(rows_of(figures)), ()))


def test_the_cheapest_method_within_the_noise_of_the_best_is_advised() -> None:
    text = advised({"none": [0.90, 0.86], "lora": [0.87, 0.88], "full": [0.86, 0.87]})
    assert text.startswith("Use none (the language model stays frozen): RMSE 0.8800 ± 0.0283 (1,000 trained parameters")
    assert "full is best on validation and has 0.8650 ± 0.0071 on test" in text
    assert "none minus it is +0.0150 [" in text


def test_a_cheaper_method_that_is_worse_beyond_the_noise_is_not_advised() -> None:
    text = advised({"none": [0.930, 0.931], "lora": [0.870, 0.871], "full": [0.8699, 0.8709]})
    assert text.startswith("Use lora: RMSE 0.8705")


def test_the_best_baseline_is_advised_where_nothing_beats_it() -> None:
    text = advised({"none": [0.99, 0.98], "lora": [0.96, 0.97]})
    said = "Nothing measured here beats the best baseline on validation: use bias, RMSE 0.9500 ± 0.0000 on test."
    assert text.startswith(said)
    assert "The nearest on validation is lora, with 0.9650 ± 0.0071 on test." in text
    assert "Collaborative only, without texts, is no worse on the mean: 0.9300" in text


def test_one_run_counts_as_no_worse_only_if_its_figure_is_no_worse() -> None:
    assert advised({"none": [0.8701], "lora": [0.87]}).startswith("Use lora")
    assert advised({"none": [0.87], "lora": [0.87]}).startswith("Use none")


def test_a_comparison_on_test_is_told_before_the_spread_over_seeds_and_chooses_nothing() -> None:
    figures = {"none": [0.90, 0.86], "lora": [0.87, 0.88]}
    rows = rows_of(figures)
    of_group = {group.axes["adapter"]: dict(group.axes) for group in groups_of(rows)}
    record = {
        "first": of_group["none"],
        "against": of_group["lora"],
        "model": "after",
        "metric": "rmse",
        "intervals": {"by_user": {"difference": 0.005, "low": 0.001, "high": 0.009, "excludes_zero": True}},
    }
    swapped = {**record, "first": record["against"], "against": record["first"]}
    swapped["intervals"] = {"by_user": {"difference": -0.005, "low": -0.009, "high": -0.001, "excludes_zero": True}}
    assert "Welch over seeds" in " ".join(advice(the_task(rows), ()))
    for one in (record, swapped):
        text = " ".join(advice(the_task(rows), [one]))
        assert text.startswith("Use none")
        assert "none minus it is +0.0050 [+0.0010, +0.0090] by user" in text


def test_test_figures_choose_nothing() -> None:
    rows = rows_of({"none": [0.90, 0.901], "lora": [0.88, 0.881], "full": [0.86, 0.861]})
    chosen = " ".join(advice(the_task(rows), ()))
    for row, figure in zip(rows, (0.80, 0.80, 0.97, 0.97, 0.99, 0.991), strict=True):
        row["accuracy"]["test"]["after"]["rmse"] = figure
    turned = " ".join(advice(the_task(rows), ()))
    assert chosen.startswith("Use full")
    assert turned.startswith("Use full")
    assert "0.9500 ± 0.0000: on test the choice does not beat it ▼, by +0.0405 [" in turned
    for row in rows:
        del row["accuracy"]["valid"]["after"]
    assert "nothing is advised" in " ".join(advice(the_task(rows), ()))


def test_a_model_without_texts_that_is_no_worse_is_named() -> None:
    assert "Collaborative only, without texts, is no worse on the mean: 0.9300" in advised({"lora": [0.94, 0.94]})
    assert "Collaborative only" not in advised({"lora": [0.92, 0.92]})


def test_rows_of_other_test_data_are_another_task() -> None:
    rows = rows_of({"none": [0.9], "lora": [0.9]})
    other = made_up_row("full", 1, 0.9)
    other["data"] = {**other["data"], "test": 50}
    tasks = tasks_of(groups_of([*rows, other]), MATRIX)
    assert [task.title for task in tasks] == ["films", "films full"]
    assert [tasks[0].name(group) for group in tasks[0].groups] == ["none", "lora"]


def test_references_are_the_best_baseline_the_model_without_texts_and_frozen_text() -> None:
    found = the_task(rows_of({"none": [0.9, 0.8], "lora": [0.9]})).references()
    assert [(one.label, one.test) for one in found] == [
        ("best baseline (bias)", (0.95, 0.95)),
        ("collaborative only (biased mf)", (0.93, 0.93)),
        ("before: frozen text", (1.0, 1.0)),
    ]


def test_published_figures_of_the_primary_metric_are_references() -> None:
    choice = MATRIX.recipes[0].model_copy(
        update={
            "published": {
                "IGMC": Published(figures={"primary": 0.905}),
                "GHRS": Published(figures={"rmse": 0.887}, source="a paper"),
                "Other": Published(figures={"mae": 0.7}),
            }
        }
    )
    matrix = MATRIX.model_copy(update={"recipes": (choice,)})
    (task,) = tasks_of(groups_of(rows_of({"lora": [0.9]})), matrix)
    found = [(one.label, one.test) for one in task.references() if one.published]
    assert found == [("published: IGMC", (0.905,)), ("published: GHRS (a paper)", (0.887,))]


def test_references_that_differ_by_group_have_a_line_for_each() -> None:
    rows = rows_of({"none": [0.9], "lora": [0.9]})
    rows[1]["accuracy"]["test"]["before"] = {"rmse": 0.97}
    found = the_task(rows).references()
    assert [(one.label, one.test) for one in found][2:] == [
        ("before: frozen text, none", (1.0,)),
        ("before: frozen text, lora", (0.97,)),
    ]


def test_intervals_over_runs_are_those_of_welch_and_of_pairs_where_runs_are_splits() -> None:
    from scipy import stats

    first, second = {"seed 1": 1.0, "seed 2": 1.2, "seed 3": 1.1}, {"seed 1": 0.9, "seed 2": 1.15, "seed 3": 0.95}
    found = over_runs(first, second, same_data=True)
    expected = stats.ttest_ind(list(first.values()), list(second.values()), equal_var=False).confidence_interval()
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert found.how == "Welch over seeds"
    paired = over_runs(first, second, same_data=False)
    expected = stats.ttest_rel(list(first.values()), list(second.values())).confidence_interval()
    assert (paired.low, paired.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert over_runs({"seed 1": 1.0}, second, same_data=True).low is None
