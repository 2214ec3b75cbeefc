"""Draw the committed results: docs/images/*.png and benchmarks/results/*.png from benchmarks/results/*.json."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from llmrec_peft.benchmark.pictures import write_pictures
from llmrec_peft.benchmark.report import read_report
from llmrec_peft.benchmark.result_schema import is_report

HERE = Path(__file__).parent
IMAGES = HERE.parent / "docs" / "images"
NAMES = {
    "global_mean": "global mean",
    "user_mean": "user mean",
    "item_mean": "item mean",
    "before": "before: frozen text, biases",
    "bias": "bias model",
    "biased_mf": "biased MF (collaborative only)",
    "without_collaborative": "tuned, without collaborative",
    "without_text": "tuned, without text",
    "without_graph": "tuned, without graph",
    "without_adapter": "tuned, without adapter",
    "after": "after: tuned",
}


def main() -> None:
    """Draw every figure whose results are there."""
    IMAGES.mkdir(exist_ok=True)
    source = HERE / "results" / "movies-u1.json"
    if source.is_file():
        draw_rows(json.loads(source.read_text(encoding="utf-8")), IMAGES / "movies-u1.png")
    source = HERE / "results" / "epoch_cost.json"
    if source.is_file():
        draw_epochs(json.loads(source.read_text(encoding="utf-8")), IMAGES / "epoch-cost.png")
    source = HERE / "results" / "replay.json"
    if source.is_file():
        draw_replay(json.loads(source.read_text(encoding="utf-8")), IMAGES / "replay.png")
    for source in sorted((HERE / "results").glob("*.json")):
        if is_report(json.loads(source.read_text(encoding="utf-8"))):
            for picture in write_pictures(read_report(source), source.parent, f"{source.stem}-"):
                print(picture)


def draw_rows(report: dict, target: Path) -> None:  # type: ignore[type-arg]
    """Test RMSE of every model, mean over seeds, with the spread as a whisker."""
    figures = [row["accuracy"]["test"] for row in report["rows"]]
    tests = {name: [row[name]["rmse"] for row in figures] for name in NAMES if name in figures[0]}
    names = sorted(tests, key=lambda name: -statistics.mean(tests[name]))
    figure, axes = plt.subplots(figsize=(8, 0.36 * len(names) + 1.2))
    untuned = {*report["rows"][0]["accuracy"]["baselines"], "before"}
    colours = ["#9aa5b1" if name in untuned else "#2f6f9f" for name in names]
    means = [statistics.mean(tests[name]) for name in names]
    spreads = [statistics.stdev(tests[name]) for name in names]
    axes.barh([NAMES[name] for name in names], means, xerr=spreads, color=colours, height=0.7)
    for at, mean in enumerate(means):
        axes.text(mean + 0.004, at, f"{mean:.4f}", va="center", fontsize=8)
    axes.set_xlim(0.85, max(means) + 0.04)
    seeds = [row["axes"]["seed"] for row in report["rows"]]
    axes.set_xlabel(f"test RMSE on ML-100K u1, mean of seeds {', '.join(map(str, seeds))} (less is better)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(target, dpi=130)
    print(target)


def draw_epochs(report: dict, target: Path) -> None:  # type: ignore[type-arg]
    """Seconds an epoch against the share of texts, and of interactions, that are there."""
    whole = report["rows"][0]
    figure, axes = plt.subplots(figsize=(6, 3.4))
    for field, word in (("texts", "texts fewer"), ("interactions", "interactions fewer, texts the same")):
        rows = [row for row in report["rows"] if row is whole or f"of the {field}" in row["size"]]
        rows.sort(key=lambda row: row[field])
        axes.plot([row[field] / whole[field] for row in rows], [row["seconds"] for row in rows], "o-", label=word)
    axes.set_xlabel(f"share of {whole['texts']:,} texts, or of {whole['interactions']:,} interactions")
    axes.set_ylabel("seconds an epoch")
    axes.set_ylim(bottom=0.0)
    axes.set_xlim(0.0, 1.05)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(target, dpi=130)
    print(target)


def draw_replay(report: dict, target: Path) -> None:  # type: ignore[type-arg]
    """RMSE on the next month, RMSE on the old window and cost of each method, month by month."""
    rows = report["rows"]
    months = [row["learned"] for row in rows]
    styles = {
        "stale": ("#9aa5b1", "o--"),
        "counts": ("#c98a2b", "s:"),
        "counts, every rating": ("#c98a2b", "s-"),
        "retrain": ("#7a5195", "^-"),
        "update": ("#2f6f9f", "o-"),
    }
    panels = (
        ("rmse", "RMSE on the next month"),
        ("old_rmse", "RMSE on the old window"),
        ("processor_seconds", "processor seconds a month"),
    )
    figure, every = plt.subplots(1, 3, figsize=(12, 3.6))
    for axes, (field, title) in zip(every, panels, strict=True):
        for name, (colour, style) in styles.items():
            hidden = name == "counts, every rating" and field == "old_rmse"  # it is what `counts` is there
            if hidden or (name == "stale" and field == "processor_seconds"):
                continue
            values = [row["methods"][name][field] for row in rows]
            axes.plot(months, values, style, color=colour, label=name, markersize=5)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("after learning", fontsize=9)
        axes.tick_params(axis="x", labelrotation=30, labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    every[2].set_ylim(bottom=0.0)
    figure.legend(
        *every[0].get_legend_handles_labels(), loc="lower center", ncols=len(styles), frameon=False, fontsize=9
    )
    figure.tight_layout(rect=(0.0, 0.07, 1.0, 1.0))
    figure.savefig(target, dpi=130)
    print(target)


if __name__ == "__main__":
    main()
