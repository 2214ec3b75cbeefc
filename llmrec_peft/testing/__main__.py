"""`python -m llmrec_peft.testing`: test what adapter methods, heads and signals declare."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from llmrec_peft import registry
from llmrec_peft.errors import InputError
from llmrec_peft.printable import say, write_json
from llmrec_peft.progress import bar, note
from llmrec_peft.recipe.yaml_file import parse_override
from llmrec_peft.testing.adapters.suite import CellResult, check_method, default_precision
from llmrec_peft.testing.plugins import PluginResult, check_head, check_signal
from llmrec_peft.testing.results import PRECISIONS, add_cell, is_current, read_results
from llmrec_peft.testing.tables import cell_table, plugin_table

_ALL = {
    "tiny-bert": ("fp32",),
    "tiny-llama": ("fp32", "int8"),
    "minilm": PRECISIONS,
    "smollm2": ("bf16", "nf4"),
}
"""Backbones and precisions of a complete run."""
KINDS = ("adapter", "head", "signal")
Rows = list[dict[str, Any]]


def main(arguments: list[str] | None = None) -> int:
    """Run the suite; return 0 if all passed or were refused as declared, 1 if a check failed, 2 for wrong input."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if bool(given.names) == given.all:
        parser.error("name one or more plugins, or --all")
    given.kind = given.kind or (list(KINDS) if given.all else ["adapter"])
    if given.names and len(given.kind) > 1:
        parser.error("names are of one kind: give --kind once")
    for option in ("backbone", "precision", "out", "again"):
        if getattr(given, option) and "adapter" not in given.kind:
            parser.error(f"--{option} is for adapter methods")
    if given.set and (given.all or given.kind == ["adapter"]):
        parser.error("--set is for heads and signals that are named")
    try:
        return _run(given)
    except InputError as error:
        say(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        say("interrupted")
        return 130


def _run(given: argparse.Namespace) -> int:
    failed, rows = 0, Rows()
    for kind in given.kind:
        found, told = _run_adapters(given) if kind == "adapter" else _run_plugins(kind, given)
        failed += found
        rows += told
    if given.json:
        write_json(rows, sys.stdout)
    return 1 if failed else 0


def _run_adapters(given: argparse.Namespace) -> tuple[int, Rows]:
    """Run the cells of adapter methods; return how many failed, and the rows of those that were run."""
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
                _print_cell(result, given.debug)
            shown.advance()
    if len(cells) == 1 and done and not given.json:
        cell_table(done[0])
    elif len(done) < len(cells) and not given.json:
        note(f"{len(cells) - len(done)} of {len(cells)} cells were in {given.out} already (--again runs them anew)")
    return failed, [{"method": r.method, "backbone": r.backbone, "precision": r.precision, **r.plain()} for r in done]


def _run_plugins(kind: str, given: argparse.Namespace) -> tuple[int, Rows]:
    """Test heads or signals; return how many settings failed, and the rows of all."""
    names = list(registry.plugins(f"{kind}s")) if given.all else given.names
    for name in names:
        registry.get(f"{kind}s", name)
    options = dict(parse_override(text) for text in given.set) if given.set else None
    results: list[PluginResult] = []
    with bar("conformance", len(names)) as shown:
        for name in names:
            shown.advance(0, text=f"{kind} {name}")
            found = check_head(name, options) if kind == "head" else check_signal(name, options)
            results += found
            for result in found if not given.json else ():
                _print_plugin(result, given.debug)
            shown.advance()
    if len(names) == 1 and not given.json:
        plugin_table(results)
    return sum(result.status == "failed" for result in results), [result.plain() for result in results]


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


def _print_cell(result: CellResult, debug: bool) -> None:
    """Print one line per cell, and one per failed check."""
    where = f"{result.method} on {result.backbone} in {result.precision}"
    mixing = f"; mixing: {result.mixing}" if result.mixing else ""
    note(f"{where}: {result.status} ({result.seconds:.1f} s){mixing}")
    _print_failures(result, debug)


def _print_plugin(result: PluginResult, debug: bool) -> None:
    """Print one line per setting, and one per failed check."""
    note(f"{result.title}: {result.status} ({result.seconds:.1f} s)" + (f": {result.why}" if result.why else ""))
    _print_failures(result, debug)


def _print_failures(result: CellResult | PluginResult, debug: bool) -> None:
    for line in result.failures():
        note(f"  {line}")
    if debug:
        for text in result.tracebacks.values():
            note(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m llmrec_peft.testing",
        description="Prove what an adapter method, a head or a signal declares:"
        " exit code 0 = passed, or refused as declared.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="registered plugins of one kind")
    parser.add_argument(
        "--kind", action="append", choices=KINDS, help="of which kind (default: adapter; with --all every kind)"
    )
    parser.add_argument("--all", action="store_true", help="every registered plugin")
    parser.add_argument(
        "--set",
        action="append",
        metavar="OPTION=VALUE",
        help="try a head or signal with these options alone (default: its defaults, then each choice of each option)",
    )
    parser.add_argument(
        "--backbone", action="append", metavar="NAME", help="minilm (default), smollm2, tiny-bert, tiny-llama, …"
    )
    parser.add_argument("--precision", action="append", choices=PRECISIONS, help="default: the backbone's own")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="result file of adapter methods; what it holds is not run again",
    )
    parser.add_argument("--again", action="store_true", help="run cells again that are in the result file")
    parser.add_argument("--json", action="store_true", help="print the results as JSON on stdout")
    parser.add_argument("--debug", action="store_true", help="print tracebacks of checks that raised")
    return parser


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command does, before torch is imported
    sys.exit(main())
