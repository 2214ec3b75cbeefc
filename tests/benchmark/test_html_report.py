"""The report as a page: well-formed, without anything from elsewhere, with marks, references and escaped texts."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
from html_rules import Elements
from made_up_rows import MATRIX, made_up_row, rows_of

from llmrec_peft.benchmark.html_report import as_html
from llmrec_peft.benchmark.matrix import Matrix
from llmrec_peft.benchmark.report import assemble, read_report, rewrite_report
from llmrec_peft.page.curves import Line, curves
from llmrec_peft.page.scatter import Spot, front, scatter

FIGURES = {"none": [0.96, 0.97], "lora": [0.90, 0.91], "full": [0.88, 0.89]}
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
EVIL = "<img src=x onerror=alert(1)>"


class Parsed(Elements):
    """A page: whether its elements are closed, what it would ask for, and its tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.feed(text)
        self.close()
        self.broken += self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element, and attributes that ask for something or run something."""
        self.tags.append(tag)
        for name, value in attrs:
            if name.startswith("on") or name in ("src", "srcset", "style") or "://" in (value or ""):
                self.broken.append(f"{name}={value} on {tag}")
            if name == "href" and not (value or "").startswith("#"):
                self.broken.append(f"href={value}")
        super().handle_starttag(tag, attrs)


def page_of(rows: list[dict[str, Any]], matrix: Matrix = MATRIX) -> str:
    text = as_html(assemble(matrix, rows))
    assert Parsed(text).broken == []
    return text


def test_the_policy_allows_the_page_its_own_style_and_script_alone() -> None:
    text = page_of(rows_of(FIGURES))
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        (own,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert f"{directive} &#39;sha256-{digest}&#39;" in policy
    assert policy.startswith("default-src &#39;none&#39;")
    assert "unsafe" not in policy


def test_rows_stand_by_their_test_figure_beside_references_and_losers_are_marked() -> None:
    text = page_of(rows_of(FIGURES))
    body = text.split("<tbody>")[1].split("</tbody>")[0]
    rows = [re.sub(r"<[^>]+>", " ", row).split() for row in body.split("</tr>") if row.strip()]
    assert [row[0] for row in rows] == ["full", "lora", "collaborative", "best", "none", "before:"]
    (none,) = (row for row in body.split("</tr>") if ">none" in row)
    assert "▼" in none
    assert "(reference: frozen)" in none
    assert "(reference: full tuning)" in body
    assert body.count("▼") == 1
    assert body.count('class="reference"') == 3


def test_references_that_were_not_measured_are_named_and_a_blend_has_a_column() -> None:
    text = page_of(rows_of({"none": [0.9], "lora": [0.9]}))
    assert "Not measured here: full tuning." in text
    assert "blend" not in text
    rows = rows_of({"full": [0.9]})
    del rows[0]["accuracy"]["test"]["biased_mf"]
    rows[0]["accuracy"]["test"]["blend"] = {"rmse": 0.8765}
    text = page_of(rows)
    assert "Not measured here: collaborative only." in text
    assert "test RMSE of the blend" in text
    assert 'data-value="0.8765"' in text


def test_figures_on_some_items_stand_beside_the_baseline_that_is_best_on_them() -> None:
    rows = rows_of({"lora": [0.9]})
    on_few = {"after": {"rmse": 0.98}, "bias": {"rmse": 1.0}, "user_mean": {"rmse": 0.97}}
    rows[0]["accuracy"]["slices"] = {
        "items_with_0_ratings": {"n": 30, "test": on_few},
        "items_with_1_to_5_ratings": {"n": 0, "test": {}},
        "items_with_over_5_ratings": {"n": 100, "test": on_few},
    }
    part = page_of(rows).split("Figures on some of the test items")[1].split("</details>")[0]
    cells = re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", part.split("<tbody>")[1])
    assert cells == ["lora", "items never seen in training", "30", "0.9700 (user mean)", "–", "0.9800 ▼"]
    assert "Figures on some" not in page_of(rows_of({"lora": [0.9]}))


def test_the_first_section_says_where_the_rows_come_from() -> None:
    rows = rows_of(FIGURES)
    rows[0]["code"] = "ef" * 32
    rows[0]["date"] = "2026-01-01"
    text = page_of(rows)
    origin = text.split('id="origin"')[1].split("</section>")[0]
    for told in ("2026-01-02", "A chip, 2 cores", "torch 2", "seed 1, seed 2", "fingerprint " + "cd" * 8, "ab" * 32):
        assert told in origin
    assert "other code ‡" in origin
    assert "none ‡" in text


def test_texts_of_others_are_text() -> None:
    rows = [made_up_row(EVIL, seed, 0.9) for seed in (1, 2)]
    rows[0]["status"], rows[0]["reason"] = "failed", EVIL
    matrix = MATRIX.model_copy(update={"description": EVIL + "\x1b[2J\u202e"})
    text = page_of(rows, matrix)
    assert "<img" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_a_report_without_any_measured_cell_is_a_page() -> None:
    row = {"axes": {"recipe": "films", "seed": 1}, "key": "0" * 16, "status": "failed", "reason": "over 5 s"}
    text = page_of([row])
    assert "No cell was measured." in text
    assert "films seed 1: failed: over 5 s" in text


@pytest.mark.parametrize("name", ["methods", "movies-u1", "movies-cold-items", "clicks-and-rankings", "taste-settings"])
def test_committed_results_of_earlier_layouts_become_reports(name: str, tmp_path: Path) -> None:
    written = rewrite_report(RESULTS / f"{name}.json", tmp_path / "out")
    assert {path.name for path in written} == {path.name for path in (tmp_path / "out").iterdir()}
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert Parsed(text).broken == []
    assert text.count('<table class="sortable">') >= 1
    assert read_report(tmp_path / "out") == read_report(RESULTS / f"{name}.json")


def test_the_front_has_what_nothing_else_beats_in_cost_and_figure() -> None:
    spots = [Spot("a", 3, 0.5), Spot("b", 1, 0.9), Spot("c", 2, 0.7), Spot("d", 2, 0.8), Spot("e", 4, 0.6)]
    assert [one.label for one in front(spots, lower_is_better=True)] == ["b", "c", "a"]
    assert [one.label for one in front(spots, lower_is_better=False)] == ["b"]


def test_plots_say_in_words_what_they_show_and_draw_what_can_be_drawn() -> None:
    spots = [Spot("a", 10, 0.5), Spot("b", 1e6, 0.4)]
    drawn = scatter("Test RMSE against parameters", spots, "parameters", "test RMSE", True, 0.55, "best baseline")
    assert "2 methods. On the front: a 0.5000 at 10; b 0.4000 at 1 M. Line: best baseline, 0.5500." in drawn
    assert "test RMSE, lower is better" in drawn
    assert "best baseline 9.0000 ↑" in scatter("t", spots, "parameters", "test RMSE", True, 9.0, "best baseline")
    assert "too far apart" in scatter("t", [Spot("a", 1, 1e308), Spot("b", 2, -1e308)], "c", "v", True)
    assert "too far apart" in scatter("t", [], "c", "v", True)
    shown = curves("RMSE by epoch", [Line(EVIL, (1.0, 0.9), "curve"), Line("b", (0.95,))])
    assert "&lt;img" in shown
    assert "<img" not in shown
