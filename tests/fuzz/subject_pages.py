"""Hostile figures of runs: the page of any of them keeps all rules, or the figures are refused in one line."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from html_rules import Page
from made_up_figures import made_up_report
from pydantic import ValidationError

from fuzz.harness import Attempt
from llmrec_peft.errors import InputError
from llmrec_peft.options import one_line
from llmrec_peft.page.run_report import RunFacts, RunReport
from llmrec_peft.page.write import render

_ODD: tuple[Any, ...] = (
    *(
        None,
        True,
        0,
        -1,
        1e308,
        -1e308,
        5e-324,
        2**63,
        10**400,
        "",
        "x",
        "</style><script>",
        "\u202e\x1b[2J",
        "a" * 500,
    ),
    *([], {}, [1], [[]], {"a": 1}, {"a": {}}, {"rmse": 1.0}, {"before": {"rmse": 1}}, {'"><b>': {"rmse": 0.5}}),
)
_LARGEST = 4 << 20
"""Characters of a page, at most."""


def attempts(rng: random.Random, folder: Path) -> Iterator[Attempt]:
    """Yield reports in which one to three values were replaced, moved or taken out."""
    while True:
        report = made_up_report() if rng.random() < 0.9 else {"heads": {"click": made_up_report()}, **made_up_report()}
        said = [_mutated(report, rng) for _ in range(rng.randint(1, 3))]
        yield Attempt("; ".join(said), partial(_page, report))


def _mutated(report: dict[str, Any], rng: random.Random) -> str:
    """Change one value somewhere in a report, and say which."""
    block: Any = report
    path = []
    while True:
        key = rng.choice(list(block) if isinstance(block, dict) else range(len(block)))
        path.append(str(key))
        inner = block[key]
        if not (isinstance(inner, dict | list) and inner) or rng.random() < 0.25:
            break
        block = inner
    if isinstance(block, dict) and rng.random() < 0.2:
        del block[key]
        return f"without {'/'.join(path)}"
    if isinstance(block, dict) and rng.random() < 0.2:
        block[str(rng.choice(_ODD))[:300]] = block.pop(key)
        return f"{'/'.join(path)} has another name"
    block[key] = copy.deepcopy(rng.choice(_ODD))
    return f"{'/'.join(path)} is {str(block[key])[:40]!r}"


def _page(report: dict[str, Any]) -> None:
    try:
        read = RunReport.model_validate(report)
    except ValidationError as error:
        raise InputError(one_line(error, RunReport)) from None
    text = render(RunFacts(report=read, recipe={}, recipe_lines=("name: x",), digest="0" * 64), None)
    page = Page(text)
    assert not page.broken, page.broken
    assert "script" not in page.tags
    assert "\x1b" not in text
    assert len(text) < _LARGEST, "a page without bound"
