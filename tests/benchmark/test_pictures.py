"""Pictures of a report: gains are turned so that more is better, nothing of others is drawn as a formula."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from made_up_rows import MATRIX, made_up_row, rows_of

from llmrec_peft.benchmark.costs import TRAINABLE
from llmrec_peft.benchmark.grouping import groups_of
from llmrec_peft.benchmark.pictures import Bar, bars_of, references_of, write_pictures
from llmrec_peft.benchmark.report import assemble, read_report
from llmrec_peft.benchmark.spots import spots_of
from llmrec_peft.benchmark.tasks import Task, tasks_of
from llmrec_peft.cli.main import main
from llmrec_peft.errors import InputError

pytestmark = pytest.mark.trains  # matplotlib takes two seconds to import

FIGURES = {"none": [0.96, 0.97], "lora": [0.90, 0.91], "full": [0.88, 0.89]}
ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
COMMITTED = sorted(path.name for path in RESULTS.glob("*.png") if path.stem.endswith(("-gains", "-costs")))
APART = 1.0
"""Mean difference of two pictures' pixels, of 255: processors and versions draw edges a little differently."""


def task_of(rows: list[dict[str, object]]) -> Task:
    (task,) = tasks_of(groups_of(rows), MATRIX)
    return task


def compared(low: float, high: float) -> dict[str, object]:
    """A row's accuracy block with an interval of its own for after less the best baseline."""
    accuracy = made_up_row("lora", 1, 0.90)["accuracy"]
    interval = {"difference": -0.05, "low": low, "high": high}
    return {**accuracy, "comparisons": {"after_minus_bias": {"by_user": interval}}}


def test_gains_are_the_best_first_and_less_is_more_where_lower_is_better() -> None:
    bars = bars_of(task_of(rows_of(FIGURES)), ())
    assert [bar.label for bar in bars] == ["full", "lora", "none (frozen)"]
    assert [bar.gain for bar in bars] == pytest.approx([0.065, 0.045, -0.015])
    assert all(bar.low is not None and bar.high is not None and bar.low < bar.gain < bar.high for bar in bars)


def test_interval_is_turned_with_the_gain() -> None:
    (bar,) = bars_of(task_of([made_up_row("lora", 1, 0.90, accuracy=compared(-0.08, -0.02))]), ())
    assert (bar.gain, bar.low, bar.high, bar.how) == (pytest.approx(0.05), 0.02, 0.08, "by user")


def test_colours_tell_a_gain_beyond_the_noise_from_one_within_it_and_from_none() -> None:
    won, level, unknown, lost = (
        Bar("", gain, low, high, "").colour
        for gain, low, high in ((0.1, 0.05, 0.2), (0.1, -0.05, 0.2), (0.1, None, None), (-0.1, -0.2, 0.1))
    )
    assert len({won, level, lost}) == 3
    assert unknown == level
    assert Bar("", 0.0, 0.0, 0.0, "").colour == lost, "no better is a loss, as in tables"


def test_references_are_held_against_the_same_baseline() -> None:
    assert dict(references_of(task_of(rows_of(FIGURES)))) == {
        "collaborative only (biased mf)": pytest.approx(0.02),
        "before: frozen text": pytest.approx(-0.05),
    }


def test_costs_that_all_groups_share_are_not_drawn() -> None:
    task = task_of(rows_of(FIGURES))
    assert [(spot.label, spot.cost) for spot in spots_of(task, TRAINABLE)] == [
        ("none", 1_000.0),
        ("lora", 5_000.0),
        ("full", 900_000.0),
    ]
    assert spots_of(task_of(rows_of({"lora": [0.9]})), TRAINABLE) == []


def test_what_is_there_is_drawn_and_texts_of_others_are_no_formulas(tmp_path: Path) -> None:
    both = write_pictures(assemble(MATRIX, rows_of(FIGURES)), tmp_path / "new" / "pictures")
    assert [path.name for path in both] == ["gains.png", "costs.png"]
    again = write_pictures(assemble(MATRIX, rows_of(FIGURES)), tmp_path / "again")
    assert [path.read_bytes() for path in both] == [path.read_bytes() for path in again]
    evil = {"recipe": "films", "adapter": r"$\frac{1}{0$ \x1b[2J " + "w" * 500, "seed": 1}
    (gains,) = write_pictures(assemble(MATRIX, [made_up_row("lora", 1, 0.9, axes=evil)]), tmp_path / "evil", "a-")
    assert gains.name == "a-gains.png"
    assert gains.read_bytes().startswith(b"\x89PNG")


def test_pictures_name_the_figures_that_they_show(tmp_path: Path) -> None:
    from PIL import Image

    def said(figures: dict[str, list[float]]) -> str:
        (gains, *_) = write_pictures(assemble(MATRIX, rows_of(figures)), tmp_path)
        return str(Image.open(gains).info["Source"])

    assert said(FIGURES) == said(FIGURES) != said({**FIGURES, "lora": [0.90, 0.9101]})


def test_report_without_a_figure_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    failed = {"axes": {"recipe": "films", "seed": 1}, "key": "0" * 16, "status": "failed", "reason": "over 5 s"}
    with pytest.raises(InputError, match="nothing of tiny can be drawn"):
        write_pictures(assemble(MATRIX, [failed]), tmp_path / "pictures")
    many = [made_up_row(f"method {at}", 1, 0.9) for at in range(1_000)]
    with pytest.raises(InputError, match="too many groups for one picture"):
        write_pictures(assemble(MATRIX, many), tmp_path / "pictures")
    assert not (tmp_path / "pictures").exists()


def test_command_draws_beside_the_report_or_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["bench", "report", str(RESULTS / "movies-u1.json"), "--out", str(tmp_path / "out"), "--plot"]
    with pytest.raises(SystemExit) as ended:
        main([*asked, str(tmp_path / "out")])
    assert ended.value.code == 0
    assert str(tmp_path / "out" / "gains.png") in capsys.readouterr().out
    assert (tmp_path / "out" / "gains.png").is_file()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(SystemExit) as ended:
        main([*asked, str(tmp_path / "other")])
    assert ended.value.code == 2
    assert "pip install 'llmrec-peft[benchmark]'" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_every_committed_report_has_its_picture() -> None:
    reports = [path.stem for path in RESULTS.glob("*.json") if b'"matrix"' in path.read_bytes()[: 1 << 22]]
    assert {f"{name}-gains.png" for name in reports} <= set(COMMITTED)


@pytest.mark.parametrize("name", sorted({one.rpartition("-")[0] for one in COMMITTED}))
def test_committed_pictures_are_those_of_the_committed_figures(name: str, tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    drawn = write_pictures(read_report(RESULTS / f"{name}.json"), tmp_path, f"{name}-")
    assert [path.name for path in drawn] == [
        one for end in ("gains", "costs") if (one := f"{name}-{end}.png") in COMMITTED
    ]
    for path in drawn:
        now, then = (Image.open(folder / path.name) for folder in (tmp_path, RESULTS))
        again = f"python benchmarks/plot.py draws {path.name} again"
        assert now.info["Source"] == then.info["Source"], again
        pixels = [np.asarray(one.convert("L"), dtype=np.float64) for one in (now, then)]
        assert pixels[0].shape == pixels[1].shape, again
        assert np.abs(pixels[0] - pixels[1]).mean() < APART, again
