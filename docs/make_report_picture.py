"""Make docs/images/benchmark-report.png: report.html of the committed comparison of adapter methods, in Chromium.

It needs a Chromium and playwright, and takes a few seconds.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from llmrec_peft.benchmark.report import rewrite_report

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "methods.json"
PICTURE = ROOT / "docs" / "images" / "benchmark-report.png"
WIDTH = 1280


def photographed(page_file: Path, picture: Path) -> None:
    """Write the picture of the advice, the first table and its plots."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme="light")
        page.goto(page_file.as_uri())
        page.set_viewport_size({"width": WIDTH, "height": page.evaluate("document.body.scrollHeight")})
        start = page.locator("#advice").evaluate("(part) => part.getBoundingClientRect().top")
        end = page.locator("#task-1 .charts").evaluate("(part) => part.getBoundingClientRect().bottom")
        page.screenshot(path=picture, clip={"x": 0, "y": start, "width": WIDTH, "height": end - start})
        browser.close()


def main() -> None:
    """Write the report into a temporary folder and take its picture."""
    with tempfile.TemporaryDirectory() as folder:
        rewrite_report(RESULTS, Path(folder))
        photographed(Path(folder) / "report.html", PICTURE)


if __name__ == "__main__":
    main()
