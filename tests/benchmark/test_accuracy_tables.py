"""The report of made-up rows without latencies: summary, every model, published figures, aims, marks, comparisons."""

from __future__ import annotations

from typing import Any

from llmrec_peft.benchmark.markdown_report import as_markdown, summary_table
from llmrec_peft.benchmark.matrix import Matrix
from llmrec_peft.benchmark.report import assemble

TASK = {
    "recipe": "movies",
    "label": "films",
    "slices": ["items_with_0_ratings"],
    "published": {"IGMC": 0.905, "GHRS": {"rmse": 0.8871, "mae": 0.7, "source": "a paper"}, "Other": {"mae": 0.6}},
    "aims": {"rmse": [0.9, 0.8]},
}
MATRIX = Matrix.from_plain(
    {"name": "tiny", "recipes": [TASK], "groups": {"tuned": {}, "frozen": {}}, "seeds": [1, 2], "timing": None},
    "m.yaml",
)


def row(group: str, seed: int, after: float, best: str = "bias", status: str = "ok") -> dict[str, Any]:
    axes = {"recipe": "films", "group": group, "seed": seed}
    if status != "ok":
        return {"axes": axes, "key": f"{group}{seed}", "status": status, "reason": "over 5 s"}
    named = {"before": 1.0, "after": after, "blend": after - 0.01, "user_mean": 1.1, "bias": 0.95}
    figures = {name: {"rmse": figure} for name, figure in named.items()}
    unseen = {**figures, "user_mean": {"rmse": 0.9}, "after": {"rmse": 0.93}}
    return {
        "axes": axes,
        "key": f"{group}{seed}",
        "status": "ok",
        "reason": None,
        "accuracy": {
            "metric": "rmse",
            "lower_is_better": True,
            "slice": None,
            "n": 1234,
            "baselines": ["user_mean", "bias"],
            "best_baseline": best,
            "valid": figures,
            "test": figures,
            "slices": {"items_with_0_ratings": {"n": 56, "test": unseen}},
        },
    }


ROWS = [row("tuned", 1, 0.85), row("tuned", 2, 0.87), row("frozen", 1, 0.97), row("frozen", 2, 0.0, status="failed")]
INTERVAL = {"difference": -0.09, "low": -0.12, "high": -0.01, "excludes_zero": True}
RECORDS = [
    {
        "first": {"recipe": "films", "group": "tuned"},
        "against": "best_baseline",
        "model": "after",
        "metric": "rmse",
        "difference": -0.09,
        "intervals": {"by_user": INTERVAL, "by_item": {**INTERVAL, "high": 0.01, "excludes_zero": False}},
        "verdict": "no difference",
        "notes": ["one run a side"],
    },
    {
        "first": {"recipe": "films", "group": "tuned"},
        "against": {"recipe": "films", "group": "frozen"},
        "model": "after",
        "metric": "rmse",
        "left_out": "not measured: films frozen seed 2",
    },
]


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_the_summary_puts_ours_beside_the_best_baseline_and_published_figures() -> None:
    header, _, tuned, tuned_unseen, frozen, _ = cells(summary_table(assemble(MATRIX, ROWS, RECORDS)))
    of = dict(zip(header, tuned, strict=True))
    assert "collaborative only" not in of, "a column that nothing fills is left out"
    assert of["benchmark"] == "films tuned"
    assert of["best baseline"] == "0.9500 ± 0.0000"
    assert of["ours"] == "0.8600 ± 0.0141"
    assert of["ours minus best baseline"] == "-0.0900 [-0.1200, +0.0100] by item", "the wider interval"
    assert of["blend"] == "0.8500 ± 0.0141"
    assert of["published"] == "IGMC 0.905, GHRS 0.8871 (a paper)", "none without a figure of this metric"
    of = dict(zip(header, frozen, strict=True))
    assert of["ours"] == "0.9700 ▼", "no better than the best baseline"
    assert of["ours minus best baseline"] == "+0.0200", "nothing was compared: the difference alone"
    of = dict(zip(header, tuned_unseen, strict=True))
    assert of["benchmark"] == "films tuned, items never seen in training (n 56)"
    assert of["best baseline"] == "0.9000 ± 0.0000 (user mean)", "the best on these items"
    assert of["ours"] == "0.9300 ± 0.0000 ▼"


def test_the_model_without_texts_is_shown_whatever_a_task_calls_it() -> None:
    for name, shown in (
        ("collaborative_only", "collaborative only"),
        ("biased_mf", "biased mf (collaborative only)"),
        ("without_text", "without text (collaborative only)"),
    ):
        rows = [row("tuned", seed, 0.85) for seed in (1, 2)]
        for one in rows:
            accuracy = one["accuracy"]
            for figures in (accuracy["valid"], accuracy["test"], accuracy["slices"]["items_with_0_ratings"]["test"]):
                figures[name] = {"rmse": 0.91}
        report = assemble(MATRIX, rows)
        header, _, tuned, unseen = cells(summary_table(report))
        for line in (tuned, unseen):
            assert dict(zip(header, line, strict=True))["collaborative only"] == "0.9100 ± 0.0000"
        models = [line[0] for line in cells(as_markdown(report).split("## films tuned")[1])]
        assert shown in models


def test_every_model_has_a_line_and_aims_say_whether_they_were_reached() -> None:
    text = as_markdown(assemble(MATRIX, ROWS, RECORDS))
    of = {line[0]: line[1:] for line in cells(text.split("## films tuned")[1].split("## films frozen")[0])}
    assert of["*bias* (best baseline)"] == ["0.9500 ± 0.0000", "0.9500 ± 0.0000"]
    assert of["before: frozen text"] == ["1.0000 ± 0.0000", "1.0000 ± 0.0000 ▼"]
    assert of["after: tuned"] == ["0.8600 ± 0.0141", "0.8600 ± 0.0141"]
    assert of["*published: GHRS (a paper)*"] == ["–", "0.8871"]
    assert of["*wanted, reached*"] == ["–", "0.900"]
    assert of["*hoped for, missed*"] == ["–", "0.800"]
    assert of["model"][1] == "test RMSE, n 1,234"


def test_a_best_baseline_that_differs_by_seed_is_each_runs_own() -> None:
    rows = [row("tuned", 1, 0.85), row("tuned", 2, 0.87, best="user_mean")]
    table = cells(as_markdown(assemble(MATRIX, rows)))
    names = [line[0] for line in table]
    assert "*bias* (best baseline in 1 of 2)" in names
    assert "*user mean* (best baseline in 1 of 2)" in names
    assert table[2][2] == "1.0250 ± 0.1061"


def test_comparisons_and_what_failed_are_told() -> None:
    text = as_markdown(assemble(MATRIX, ROWS, RECORDS))
    below = cells(text.split("## Comparisons")[1])
    assert below[2:] == [
        ["films tuned, after − best baseline", "RMSE", "user", "**-0.0900 [-0.1200, -0.0100]**"],
        ["films tuned, after − best baseline", "RMSE", "item", "-0.0900 [-0.1200, +0.0100]"],
    ]
    said = " ".join(text.split())
    assert "- Left out (not measured: films frozen seed 2): films tuned, after − frozen, RMSE." in said
    assert "- one run a side" in said
    assert "- films frozen seed 2: failed: over 5 s" in said
