"""`llmrec bench`: a matrix of cells becomes one report."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from llmrec_peft.cli import bench_check, bench_diff, bench_report
from llmrec_peft.cli.command import COMPARE, Command, CommandsWithDefault
from llmrec_peft.cli.output import print_json, print_line, print_table, print_text
from llmrec_peft.errors import InputError


def bench(
    matrix: Annotated[Path | None, typer.Argument(help="Matrix of the benchmark.", metavar="MATRIX.yaml")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the rows and the report.")] = None,
    data: Annotated[Path, typer.Option("--data", envvar="LLMREC_DATA", help="Folder that holds the datasets.")] = Path(
        "data"
    ),
    only: Annotated[
        str | None, typer.Option("--only", metavar="PATTERN", help="Cells whose name holds this, or matches it (*).")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Measure finished cells again.")] = False,
    keep_failed: Annotated[bool, typer.Option("--keep-failed", help="Do not try failed cells again.")] = False,
    keep_stale: Annotated[
        bool, typer.Option("--keep-stale", help="Take cells that other code measured; the report marks them.")
    ] = False,
    keep_runs: Annotated[bool, typer.Option("--keep-runs", help="Leave the run folders of the cells.")] = False,
    jobs: Annotated[
        int, typer.Option("--jobs", metavar="N", min=1, help="Cells at a time; they disturb each other's times.")
    ] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the cells with the memory and time they would take.")
    ] = False,
    no_probe: Annotated[
        bool, typer.Option("--no-probe", help="With --dry-run: train nothing to find out how long it takes.")
    ] = False,
    table: Annotated[
        Path | None,
        typer.Option("--table", metavar="RESULTS.json", help="Print the summary of earlier results; run nothing."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notes, no progress bar.")] = False,
) -> None:
    """Measure every cell of a matrix and report them in one table; finished cells are not run again.

    A cell is trained, weighed and timed in a process of its own, under limits of time and memory. One that fails
    or cannot work becomes a row with its reason. The report is OUT/report.html and report.md,
    results.csv and .parquet with a line for each cell, and results.json with everything.
    A cell is finished for the code and the data that it was measured with; with others it is measured again.

    Examples:
      llmrec bench run benchmarks/quick.yaml --out runs/quick --dry-run
      llmrec bench run benchmarks/methods.yaml --data data --out runs/methods
      llmrec bench run benchmarks/methods.yaml --out runs/methods --only "*lora*"
      llmrec bench run --table benchmarks/results/clicks-and-rankings.json
    """
    from llmrec_peft.benchmark import bench as benchmark
    from llmrec_peft.benchmark.choices import Choices
    from llmrec_peft.benchmark.markdown_report import summary_table
    from llmrec_peft.benchmark.report import read_report

    if table is not None:
        report = read_report(table)
        if as_json:
            print_json(report["rows"])
        else:
            print_text(summary_table(report))
        return
    if matrix is None or out is None:
        raise InputError("give a matrix and --out FOLDER; or --table RESULTS.json for the tables of earlier results")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is no folder")
    choices = Choices(overwrite, keep_failed, keep_stale, keep_runs, jobs=jobs, show=not quiet)
    if no_probe and not dry_run:
        raise InputError("--no-probe is for --dry-run")
    if dry_run:
        foreseen = benchmark.foreseen(matrix, data, out, only, choices, probe=not no_probe)
        if as_json:
            print_json(foreseen)
        else:
            _print_foreseen(foreseen, jobs)
        return
    rows = benchmark.bench(matrix, data, out, only, choices)
    if as_json:
        print_json(rows)
        return
    counts = Counter(row["status"] for row in rows)
    print_line(", ".join(f"{count} {status}" for status, count in counts.items()) + f": {out / 'report.html'}")


def _print_foreseen(foreseen: dict[str, Any], jobs: int) -> None:
    """Print what each cell would take, and their sum."""
    from llmrec_peft.footprint.sizes import show_memory
    from llmrec_peft.page.numbers import duration

    def memory(megabytes: float | None) -> str:
        return "–" if megabytes is None else show_memory(megabytes * 2**20)

    cells, total = foreseen["cells"], foreseen["total"]
    rows = [
        [
            one["cell"],
            one["would"],
            memory(one["memory_mb"]),
            "–" if one["seconds"] is None else duration(one["seconds"]),
            one["basis"] or "",
        ]
        for one in cells
    ]
    print_table(f"{len(cells)} cells", ["cell", "would", "memory", "time", "time from"], rows, [2, 3])
    if not total["cells"]:
        print_line("nothing is left to run")
        return
    time = "of unknown time" if total["seconds"] is None else f"{duration(total['seconds'])} of work"
    unknown = f", and {total['unknown']} cells of unknown time" if total["unknown"] and total["seconds"] else ""
    print_line(
        f"{total['cells']} cells would run: {time}{unknown}, {jobs} at a time; the largest trains in"
        f" {memory(total['memory_mb'])} beside Python and its libraries"
    )


def register(app: typer.Typer) -> None:
    """Add the group: measuring, which needs no name of its own, and what is done with results."""
    group = typer.Typer(
        cls=CommandsWithDefault.of("run"),
        help="Measure the cells of a matrix: llmrec bench MATRIX.yaml --out DIR is llmrec bench run. Compare, check and"
        " render results.",
        epilog="Start here: llmrec bench run --help",
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    group.command("run", cls=Command)(bench)
    for command in (bench_report, bench_diff, bench_check):
        command.register(group)
    app.add_typer(group, name="bench", rich_help_panel=COMPARE)
