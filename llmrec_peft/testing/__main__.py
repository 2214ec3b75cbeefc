"""`python -m llmrec_peft.testing`: prove what an adapter method declares."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from llmrec_peft import registry
from llmrec_peft.errors import InputError
from llmrec_peft.progress import bar, note
from llmrec_peft.testing.results import PRECISIONS, add_cell, is_current, read_results
from llmrec_peft.testing.suite import CellResult, check_method, default_precision

_ALL = {
    "tiny-bert": ("fp32",),
    "tiny-llama": ("fp32", "int8"),
    "minilm": PRECISIONS,
    "smollm2": ("bf16", "nf4"),
}
"""Backbones and precisions of a whole run."""


def main(arguments: list[str] | None = None) -> int:
    """Run the suite: 0 all passed or refused as declared, 1 a check failed, 2 wrong input."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if bool(given.names) == given.all:
        parser.error("name one or more methods, or --all")
    try:
        return _run(given)
    except InputError as error:
        sys.stderr.write("error: " + " ".join(str(error).split()) + "\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130


def _run(given: argparse.Namespace) -> int:
    cells = _cells(given)
    known = read_results(given.out) if given.out else {}
    done, failed = [], 0
    with bar("conformance", len(cells)) as shown:
        for method, backbone, precision in cells:
            shown.advance(0, text=f"{method} on {backbone} in {precision}")
            stored = known.get(method, {}).get(backbone, {}).get(precision)
            if not given.again and stored is not None and is_current(stored, method):
                failed += stored["status"] == "failed"
                shown.advance()
                continue
            result = check_method(method, backbone, precision)
            failed += result.status == "failed"
            done.append(result)
            if given.out:
                add_cell(given.out, method, backbone, precision, result.plain())
            if not given.json:
                _tell(result, given.debug)
            shown.advance()
    if given.json:
        rows = [{"method": r.method, "backbone": r.backbone, "precision": r.precision, **r.plain()} for r in done]
        sys.stdout.write(json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
    elif len(cells) == 1 and done:
        _table(done[0])
    elif len(done) < len(cells):
        note(f"{len(cells) - len(done)} of {len(cells)} cells were in {given.out} already (--again runs them anew)")
    return 1 if failed else 0


def _cells(given: argparse.Namespace) -> list[tuple[str, str, str]]:
    methods = list(registry.plugins("adapters")) if given.all else given.names
    for method in methods:
        registry.get("adapters", method)
    if given.all and not given.backbone:
        plan = {backbone: list(precisions) for backbone, precisions in _ALL.items()}
    else:
        plan = {backbone: [] for backbone in given.backbone or ["minilm"]}
    if given.precision:
        plan = dict.fromkeys(plan, given.precision)
    return [
        (method, backbone, precision)
        for backbone, precisions in plan.items()
        for method in methods
        for precision in precisions or [default_precision(backbone)]
    ]


def _tell(result: CellResult, debug: bool) -> None:
    """One line a cell, one more a failed check."""
    where = f"{result.method} on {result.backbone} in {result.precision}"
    note(f"{where}: {result.status} ({result.seconds:.1f} s)")
    for line in result.failures():
        note(f"  {line}")
    if debug:
        for text in result.tracebacks.values():
            note(text)


def _table(result: CellResult) -> None:
    """Every check of one cell."""
    title = f"{result.method} on {result.backbone} in {result.precision}: {result.status}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("check", "", "measured", "allowed", "note"):
        table.add_column(column, justify="right" if column in ("measured", "allowed") else "left", overflow="fold")
    for name, outcome in result.checks.items():
        figures = ["" if value is None else f"{value:.3g}" for value in (outcome.measured, outcome.tolerance)]
        table.add_row(name, "ok" if outcome.ok else "FAILED", *figures, outcome.note)
    Console(highlight=False).print(table)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m llmrec_peft.testing",
        description="Prove what an adapter method declares: exit code 0 = passed, or refused as declared.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="registered adapter methods")
    parser.add_argument("--all", action="store_true", help="every registered method")
    parser.add_argument(
        "--backbone", action="append", metavar="NAME", help="minilm (default), smollm2, tiny-bert, tiny-llama, …"
    )
    parser.add_argument("--precision", action="append", choices=PRECISIONS, help="default: the backbone's own")
    parser.add_argument("--out", type=Path, metavar="FILE", help="result file; cells that are in it are not run again")
    parser.add_argument("--again", action="store_true", help="run cells again that are in the result file")
    parser.add_argument("--json", action="store_true", help="print the results as JSON on stdout")
    parser.add_argument("--debug", action="store_true", help="print tracebacks of checks that raised")
    return parser


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command does, before torch is imported
    sys.exit(main())
