"""The leaderboard has every committed result of `llmrec bench` and every measured recipe, as they are committed."""

from __future__ import annotations

import json
import re
from pathlib import Path

from llmrec_peft import registry
from llmrec_peft.recipe.measurements import measurements_of

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "leaderboard.md").read_text(encoding="utf-8")


def table(name: str) -> str:
    return PAGE.partition(f"<!-- table: {name} -->")[2].partition("<!-- end of table -->")[0]


def test_every_committed_report_is_there_with_its_tasks() -> None:
    text = table("leaderboard-benchmarks")
    reports = [
        (file, report)
        for file in sorted((ROOT / "benchmarks" / "results").glob("*.json"))
        if isinstance(report := json.loads(file.read_text(encoding="utf-8")), dict)
        and {"matrix", "rows"} <= set(report)
    ]
    assert len(reports) >= 5
    headings = re.findall(r"^#### (.+)$", text, re.MULTILINE)
    for file, report in reports:
        assert f"(../benchmarks/results/{file.name})" in text
        for task in {row["axes"]["recipe"] for row in report["rows"] if row["status"] == "ok"}:
            assert [heading for heading in headings if heading.startswith(task)], task


def test_every_measured_recipe_is_there_and_losers_are_marked() -> None:
    rows = [line for line in table("leaderboard-recipes").splitlines() if line.startswith("| ")][2:]
    plugins = registry.plugins("recipes")
    measured = [
        (name, one.result)
        for name, plugin in plugins.items()
        if plugin.package.startswith("llmrec-peft ")
        for one in measurements_of(name)
        if one.result is not None
    ]
    assert len(rows) == len(measured) > 10
    for line, (name, result) in zip(rows, measured, strict=True):
        assert line.startswith(f"| {name} ▼ |" if result.loses else f"| {name} |")
        assert f"{result.test.served.mean:.4f}" in line
