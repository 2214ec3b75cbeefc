"""The page of figures: everything is on it, verdicts follow the intervals, hostile folders are harmless or refused."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from html_rules import checked
from made_up_figures import interval, made_up_report

from llmrec_peft.cli.main import main
from llmrec_peft.errors import InputError
from llmrec_peft.page.earned import ahead, parts_of, tone, verdict
from llmrec_peft.page.run_report import RunReport, read_run
from llmrec_peft.page.scale import scale_of
from llmrec_peft.page.write import render, write_page

Made = Callable[..., Path]


def changed(report: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A report with one field replaced."""
    copy = json.loads(json.dumps(report))
    block = copy
    *parents, last = path.split("/")
    for part in parents:
        block = block[part]
    block[last] = value
    return copy


@pytest.fixture
def figures() -> dict[str, Any]:

    return made_up_report()


def test_page_has_all_figures_and_says_what_they_mean(made_run: Made, tmp_path: Path) -> None:
    page = write_page(made_run(), tmp_path / "page.html")
    text = checked(page.file.read_text(encoding="utf-8")).text
    for expected in (
        "movies on MovieLens",
        "The tuned model is significantly better than the best baseline, bias: −0.0400 [−0.0610, −0.0190] by item.",
        "Significantly better than it on this test part: biased mf.",
        "0.9000",
        "its share, chosen on validation: 0.25",
        "1 min 1 s",
        "2.00 GiB",
        "1,000, of which 100 were trained (10.0 %)",
        "epoch 3 was chosen",
        "3 duplicates",
        "The leak check found nothing",
        "items with 0 ratings",
        "method: lora",
        "llmrec report RUN --user ID",
        "It holds no interactions and no histories of anybody.",
    ):
        assert expected in text, expected


def test_each_part_earns_its_place_by_its_interval(figures: dict[str, Any]) -> None:
    report = RunReport.model_validate(figures)
    found = {part.name: part.earned for part in parts_of(report)}
    assert found == {
        "tuning the language model": "yes",
        "graph": "no: it makes the run worse",
        "adapter": "not shown: the interval contains zero",
        "blending with the best baseline": "yes",
        "the run as a whole, against the best baseline": "yes",
    }
    assert ahead(report) == "Significantly better than it on this test part: biased mf."


def test_a_run_without_an_adapter_claims_no_tuning_of_the_language_model(
    figures: dict[str, Any], made_run: Made, tmp_path: Path
) -> None:
    figures["parameters"]["adapter"] = 0
    page = write_page(made_run(figures), tmp_path / "page.html")
    text = checked(page.file.read_text(encoding="utf-8")).text
    assert "training heads and signals" in text
    assert "tuning the language model" not in text


@pytest.mark.parametrize(
    ("metric", "low", "high", "words", "meant"),
    [
        ("rmse", -0.02, -0.01, "significantly better than", "better"),
        ("rmse", 0.01, 0.02, "significantly worse than", "worse"),
        ("rmse", -0.01, 0.01, "cannot be told from", "unclear"),
        ("auc", 0.01, 0.02, "significantly better than", "better"),
        ("ndcg@10", -0.02, -0.01, "significantly worse than", "worse"),
        ("perplexity", -2.0, -1.0, "significantly better than", "better"),
    ],
)
def test_verdict_follows_the_interval_and_the_direction_of_the_metric(
    figures: dict[str, Any], metric: str, low: float, high: float, words: str, meant: str
) -> None:

    renamed = json.loads(json.dumps(figures).replace('"rmse"', f'"{metric}"'))
    changed_one = changed(
        renamed, "comparisons/after_minus_bias", interval((low + high) / 2, low + 0.001, high - 0.001)
    )
    report = RunReport.model_validate(changed_one)
    assert words in verdict(report)
    assert tone(report) == meant


def test_what_is_recommended_is_what_is_judged(figures: dict[str, Any]) -> None:

    for part in ("valid", "test"):
        figures = changed(figures, f"{part}/recommended", {"rmse": 0.89, "mae": 0.7})
    figures = changed(figures, "comparisons/recommended_minus_bias", interval(-0.05, -0.06, -0.04))
    figures = changed(figures, "recommended", {"says": "the blend is recommended"})
    assert verdict(RunReport.model_validate(figures)).startswith("What is recommended is significantly better")


def test_what_cross_validation_considered_is_listed(made_run: Made, tmp_path: Path, figures: dict[str, Any]) -> None:
    gain = {"gain": 0.03, "standard_error": 0.01, "low": 0.01, "high": 0.05}
    candidates = {
        "before": {"figure": 0.91, "share_of_baseline": 1.0, "left_because": "it adds nothing"},
        "after": {"figure": 0.88, "share_of_baseline": 0.25, "better_than_baseline": gain, "earns_its_place": True},
    }
    chosen = {"says": "recommended: the blend", "chosen_by": "folds", "folds": 5, "candidates": candidates}
    run = made_run(changed(figures, "recommended", chosen))
    text = checked(write_page(run, tmp_path / "page.html").file.read_text(encoding="utf-8")).text
    assert "recommended: the blend" in text
    assert "before tuning 0.9100 100.0 % – it adds nothing" in text
    assert "tuned 0.8800 25.0 % +0.0300 [+0.0100, +0.0500] earns its place" in text
    assert "3 epochs, chosen by cross-validation." in text


def test_report_without_intervals_baselines_and_slices_is_a_page_too(made_run: Made, tmp_path: Path) -> None:

    bare = {**made_up_report(), "comparisons": {}, "slices": {}, "best_baseline": None}
    bare |= {"blend_share_of_best_baseline": None, "no_better_than_best_baseline": []}
    bare["training"] = {"epochs": 1, "history": [0.9], "refit": "recount"}
    for part in ("valid", "test"):
        bare[part] = {"after": {"rmse": 0.9}, "baselines": {}}
    page = write_page(made_run(bare), tmp_path / "page.html")
    text = checked(page.file.read_text(encoding="utf-8")).text
    assert "There is no baseline to compare with." in text
    assert "What earned its place" not in text


@pytest.mark.parametrize(("metric", "counted"), [("rmse", "ratings"), ("ndcg@10", "interactions")])
def test_interactions_are_called_ratings_only_where_ratings_are_predicted(
    made_run: Made, tmp_path: Path, figures: dict[str, Any], metric: str, counted: str
) -> None:
    run = made_run(json.loads(json.dumps(figures).replace("rmse", metric)))
    text = checked(write_page(run, tmp_path / "page.html").file.read_text(encoding="utf-8")).text
    assert f"items with 0 {counted}" in text
    assert f"{counted.capitalize()} of an item are counted in training." in text
    assert ("0 ratings" in text) == (counted == "ratings")


def test_leaks_stand_out(made_run: Made, tmp_path: Path, figures: dict[str, Any]) -> None:
    run = made_run(changed(figures, "data/leaks", ["12 test examples: the same user and item"]))
    text = checked(write_page(run, tmp_path / "page.html").file.read_text(encoding="utf-8")).text
    assert "these figures are too good" in text
    assert "12 test examples" in text


EVIL = "</title><script>alert(1)</script><img src=x onerror=alert(1)>\x1b[2J\u202e{{ 7*7 }}\"'>"


@pytest.mark.parametrize(
    "path",
    ["recipe", "data/name", "data/licence", "base/name", "hardware/processor", "data/notes", "protocol/split", "head"],
)
def test_texts_of_others_are_texts_on_the_page(
    made_run: Made, tmp_path: Path, figures: dict[str, Any], path: str
) -> None:
    value = [EVIL] if path == "data/notes" else EVIL
    text = write_page(made_run(changed(figures, path, value)), tmp_path / "page.html").file.read_text(encoding="utf-8")
    page = checked(text)
    assert "script" not in page.tags
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "{{ 7*7 }}" in page.text


def test_names_of_models_metrics_and_slices_are_texts_too(
    made_run: Made, tmp_path: Path, figures: dict[str, Any]
) -> None:
    evil = json.dumps(EVIL)[1:-1]
    text = json.dumps(figures).replace("biased_mf", evil).replace('"mae"', f'"{evil}"')
    text = text.replace("items_with_0_ratings", evil).replace("without_graph", f"without_{evil}")
    page = checked(write_page(made_run(json.loads(text)), tmp_path / "p.html").file.read_text(encoding="utf-8"))
    assert "script" not in page.tags


def replaced(values: Any, numbers: Iterator[float]) -> Any:
    """Plain values with other numbers in place of all fractions."""
    if isinstance(values, dict):
        return {key: replaced(value, numbers) for key, value in values.items()}
    if isinstance(values, list):
        return [replaced(value, numbers) for value in values]
    return next(numbers) if isinstance(values, float) else values


@pytest.mark.parametrize("some", [[1e308], [1e308, -1e308, 0.5], [5e-324, 0.0], [1e9, 1e9 + 1e-7], [-1e15, 3.0, 0.0]])
def test_figures_of_any_size_are_written(
    made_run: Made, tmp_path: Path, figures: dict[str, Any], some: list[float]
) -> None:
    run = made_run(replaced(figures, itertools.cycle(some)))
    text = checked(write_page(run, tmp_path / "page.html").file.read_text(encoding="utf-8")).text
    assert "nan" not in text.lower().replace("finance", "")
    assert " inf" not in text


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("test", 3, "metrics.json is not what a run writes"),
        ("test/after", {"rmse": "low"}, "metrics.json is not what a run writes"),
        ("test/after", None, "metrics.json is not what a run writes"),
        ("valid/baselines", {}, "metrics.json is not what a run writes"),
        ("best_baseline", "none such", "metrics.json is not what a run writes"),
        ("parameters/total", 10**40, "metrics.json is not what a run writes"),
        ("training/epochs", -1, "metrics.json is not what a run writes"),
        ("training", {}, "training.epochs: Field required"),
        ("data/notes", ["x" * 5000], "metrics.json is not what a run writes"),
        ("test/baselines", {f"b{n}": {} for n in range(200)}, "metrics.json is not what a run writes"),
        ("test", {"baselines": {}, **{f"m{n}": {"rmse": 1} for n in range(200)}}, "more than 100 models"),
    ],
)
def test_report_of_another_shape_is_refused_in_one_line(
    made_run: Made, tmp_path: Path, figures: dict[str, Any], path: str, value: Any, message: str
) -> None:
    run = made_run(changed(figures, path, value))
    with pytest.raises(InputError, match=message):
        write_page(run, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_changed_figures_are_refused(made_run: Made, tmp_path: Path) -> None:
    run = made_run()
    (run / "metrics.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="is not what the run wrote"):
        write_page(run, tmp_path / "page.html")
    with pytest.raises(InputError, match="no run folder"):
        write_page(tmp_path / "none", tmp_path / "page.html")


def test_file_that_is_there_is_replaced_only_when_asked(
    made_run: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made_run()
    (tmp_path / "run.html").write_text("mine", encoding="utf-8")
    for more, code in (([], 2), (["--overwrite"], 0)):
        with pytest.raises(SystemExit) as ended:
            main(["report", str(run), *more])
        assert ended.value.code == code
    assert checked((tmp_path / "run.html").read_text(encoding="utf-8"))
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["report", str(run), "--out", str(tmp_path / "b.html"), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["file"] == str(tmp_path / "b.html")
    assert told["users"] == 0


def test_options_that_contradict_are_refused(made_run: Made, capsys: pytest.CaptureFixture[str]) -> None:
    run = made_run()
    for options in (["--no-examples", "--user", "1"], ["--user", "1", "--users", "file.txt"], ["--user", "1"]):
        with pytest.raises(SystemExit) as ended:
            main(["report", str(run), *options])
        assert ended.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_page_is_the_same_each_time(made_run: Made) -> None:
    facts = read_run(made_run())
    assert render(facts, None) == render(facts, None)


def test_recipe_of_a_stranger_is_shown_and_not_run(made_run: Made, tmp_path: Path) -> None:
    recipe = 'name: x\ndescription: "<b>{{ 7*7 }}</b>"\ndata: [1]\nviews: "</pre><script>"\n'
    page = checked(write_page(made_run(recipe=recipe), tmp_path / "p.html").file.read_text(encoding="utf-8"))
    assert "<b>{{ 7*7 }}</b>" in page.text
    assert "script" not in page.tags


@pytest.mark.parametrize("values", [[1.0], [1.0, 1.0], [0.1, 0.5, -3.0], [1e9, 2e9], [-5.0, 0.0]])
def test_scale_holds_all_values_between_round_marks(values: list[float]) -> None:
    scale = scale_of(values, 10.0, 470.0)
    assert scale is not None
    assert all(10.0 <= scale.at(value) <= 470.0 for value in values)
    marks = scale.marks()
    assert 2 <= len(marks) <= 10
    assert marks == sorted(marks)
    assert all(scale.low <= mark <= scale.high for mark in marks)
    assert scale_of([-1e308, 1e308], 0.0, 1.0) is None
