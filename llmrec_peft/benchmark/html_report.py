"""HTML report: one file with tables that sort, plots and advice; it asks for nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from llmrec_peft.benchmark.accuracy_tables import compared_lines
from llmrec_peft.benchmark.advice import HOW
from llmrec_peft.benchmark.grouping import groups_of
from llmrec_peft.benchmark.markdown import LOSES
from llmrec_peft.benchmark.markdown_report import unmeasured
from llmrec_peft.benchmark.matrix import Matrix
from llmrec_peft.benchmark.provenance import OTHER_CODE, current_code, provenance_of
from llmrec_peft.benchmark.task_table import shown_task
from llmrec_peft.benchmark.tasks import tasks_of
from llmrec_peft.identity import __version__
from llmrec_peft.page import charts
from llmrec_peft.printable import for_terminal
from llmrec_peft.recipe.yaml_file import dump_yaml

_HERE = Path(__file__).parent / "html"


def as_html(report: Mapping[str, Any]) -> str:
    """Return a report as one HTML page; its policy lets a browser run and style nothing but what the page holds.

    Args:
        report: Contents of ``results.json``.
    """
    matrix = Matrix.from_plain(report["matrix"], report["name"])
    records, rows = report.get("comparisons", ()), report["rows"]
    current = current_code([row for row in rows if row["status"] == "ok"])
    shown = [shown_task(task, records, current) for task in tasks_of(groups_of(rows), matrix)]
    css = _text(Path(charts.__file__).with_name("page.css")) + _text(_HERE / "report.css")
    script = _text(_HERE / "report.js")
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else for_terminal(value),
    )
    return environment.get_template("report.html.jinja").render(
        name=matrix.name,
        description=matrix.description,
        note=report.get("note", ""),
        date=report["date"],
        found=provenance_of(report),
        how=HOW,
        tasks=shown,
        comparisons=compared_lines(records),
        unmeasured=unmeasured(rows),
        matrix_lines=dump_yaml(report["matrix"]).splitlines(),
        policy=_policy(css, script),
        css=Markup(css),  # noqa: S704 - our own files
        script=Markup(script),  # noqa: S704
        loses=LOSES,
        other_code=OTHER_CODE,
        version=__version__,
    )


def _policy(css: str, script: str) -> str:
    """Return a content security policy that names the page's own style and script by their digests."""
    allowed = {"style-src": css, "script-src": script}
    named = [f"{what} 'sha256-{_digest(text)}'" for what, text in allowed.items()]
    return "; ".join(["default-src 'none'", *named, "base-uri 'none'", "form-action 'none'"])


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
