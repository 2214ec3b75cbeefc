"""The report in Chromium: table and plots show, headings sort, nothing is asked for, and texts of others stay texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from made_up_rows import MATRIX, made_up_row, rows_of
from page_browser import Seen, chromium

from llmrec_peft.benchmark.html_report import as_html
from llmrec_peft.benchmark.report import assemble

pytestmark = pytest.mark.trains
__all__ = ["chromium"]
EVIL = "<img src=x onerror=alert(1)>"
FIGURES = {"none": [0.96, 0.97], "lora": [0.90, 0.91], "full": [0.88, 0.89]}
NAMES = "(table) => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent.split(' ')[0])"
SORTED = "(table) => [...table.tHead.rows[0].cells].map((head) => head.getAttribute('aria-sort'))"


@pytest.fixture
def opened(chromium: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Open the report of some rows; at the end the page was all that was asked for, and nothing complained."""
    seen, contexts = Seen(), []
    path = tmp_path / "report.html"

    def open_page(rows: list[dict[str, Any]], width: int = 1280) -> Any:
        path.write_text(as_html(assemble(MATRIX, rows)), encoding="utf-8")
        contexts.append(chromium.new_context(viewport={"width": width, "height": 900}))
        page = contexts[-1].new_page()
        page.on("request", lambda request: seen.requests.append(request.url))
        page.on("console", lambda message: seen.complaints.append(message.text))
        page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        page.on("dialog", lambda dialog: (seen.complaints.append(dialog.message), dialog.dismiss()))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert set(seen.requests) == {path.as_uri()}
    assert seen.complaints == []


def test_table_and_plots_are_seen(opened: Callable[..., Any]) -> None:
    page = opened(rows_of(FIGURES))
    assert page.locator("table.sortable tbody tr").count() == 6
    charts = page.locator("svg.chart")
    assert charts.count() == 4, "parameters, memory, a new item, and the epochs; a cost that is the same is not drawn"
    for at in range(charts.count()):
        box = charts.nth(at).bounding_box()
        assert box["width"] > 200
        assert box["height"] > 100
    assert page.locator("circle.ours").first.evaluate("(mark) => getComputedStyle(mark).fill") == "rgb(11, 110, 79)"


def test_a_heading_sorts_by_number_in_both_directions_with_missing_values_last(opened: Callable[..., Any]) -> None:
    page = opened(rows_of(FIGURES))
    table = page.locator("table.sortable")
    before = table.evaluate(NAMES)
    assert before == ["full", "lora", "collaborative", "best", "none", "before:"]
    heading = page.get_by_role("button", name="trained parameters")
    heading.click()
    assert table.evaluate(NAMES)[:3] == ["none", "lora", "full"]
    assert table.evaluate(SORTED).count("ascending") == 1
    heading.press("Enter")
    assert table.evaluate(NAMES)[:3] == ["full", "lora", "none"], "by the keyboard, the other way round"
    assert sorted(table.evaluate(NAMES)[3:]) == ["before:", "best", "collaborative"]
    assert table.evaluate(SORTED).count("descending") == 1
    page.get_by_role("button", name="method").press("Space")
    assert table.evaluate(NAMES) == ["before:", "best", "collaborative", "full", "lora", "none"]


def test_a_name_that_looks_like_html_is_text(opened: Callable[..., Any]) -> None:
    page = opened([*rows_of({"none": [0.9]}), made_up_row(EVIL, 1, 0.8), made_up_row("lora", 1, 0.7)])
    assert page.locator("img").count() == 0
    assert page.locator("table.sortable th", has_text=EVIL).count() == 1


def test_the_page_fits_a_phone(opened: Callable[..., Any]) -> None:
    page = opened(rows_of(FIGURES), width=360)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
