"""`llmrec loadtest`: how long requests to a server wait at a given rate."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmrec_peft.artifact.folder import whole_file
from llmrec_peft.artifact.picture import require_drawable
from llmrec_peft.cli import parameters, server
from llmrec_peft.cli.command import SERVE, Command
from llmrec_peft.cli.output import print_json, print_line, print_note, print_table
from llmrec_peft.errors import InputError
from llmrec_peft.printable import for_json, quoted

if TYPE_CHECKING:
    from llmrec_peft.serving.http.load_test.load_report import LoadReport, Waits

ERRORS, INTERRUPTED = 1, 130
"""Exit codes where requests had errors, and after Ctrl-C."""
_RANGE = re.compile(r"(\d{1,9})-(\d{1,9})")
_MOST_USERS = 1_000_000
_RANKS_SHOWN = 10
_COLUMNS = ("p50", "p90", "p99", "max")


def loadtest(
    tenants: Annotated[
        str, typer.Option("--tenants", metavar="LIST", help="Tenants by commas, the most asked first; or all.")
    ] = "all",
    rate: Annotated[float, typer.Option("--rate", metavar="N", help="Requests per second.")] = 50.0,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", metavar="S", help="How long requests are due, at most 3600.", show_default="10"),
    ] = None,
    requests: Annotated[
        int | None,
        typer.Option(
            "--requests", metavar="N", help="Number of requests instead, at most 1000000.", show_default=False
        ),
    ] = None,
    warm_up: Annotated[
        float, typer.Option("--warm-up", metavar="S", help="Seconds at the same rate before, which do not count.")
    ] = 0.0,
    zipf: Annotated[
        float, typer.Option("--zipf", metavar="S", help="Tenant of rank r gets 1 / r^S of the requests; 0: all alike.")
    ] = 1.0,
    users: Annotated[
        Path | None,
        typer.Option(
            "--users", metavar="FILE|-", help="Users, as llmrec recommend reads them.", show_default="--user-range"
        ),
    ] = None,
    user_range: Annotated[
        str, typer.Option("--user-range", metavar="A-B", help="Users whose ids are these numbers.")
    ] = "1-100",
    k: Annotated[int, typer.Option("-k", "--k", metavar="N", min=1, help="Items of each list.")] = 10,
    even: Annotated[bool, typer.Option("--even", help="Equal gaps between requests, not random ones.")] = False,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed of gaps, tenants and users.")] = 0,
    connections: Annotated[
        int, typer.Option("--connections", metavar="N", help="Connections that are open at once, at most.")
    ] = 256,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="S", help="Seconds after which no answer is an error.")
    ] = 30.0,
    remote: Annotated[bool, typer.Option("--remote", help="Allow another machine than this one.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="JSON file for the report.", show_default=False)
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="PNG or SVG file to draw.", show_default=False)
    ] = None,
    url: server.Url = server.URL,
    key_file: server.KeyFile = None,
    as_json: parameters.Json = False,
    quiet: parameters.NoBar = False,
) -> None:
    """Ask a server for recommendations at a given rate, and report how long requests wait.

    Requests are sent when they are due, whether or not earlier ones were answered, and wait from then on: a server
    that stalls is seen in all requests that were due meanwhile. Exit code 1 if there were errors; 429 and 503, by which
    a server says that it is too busy, are counted apart. Ctrl-C ends the test with the figures so far.

    Examples:
      llmrec loadtest --rate 100 --seconds 30
      llmrec loadtest --tenants films,books --zipf 0 --user-range 1-943
      llmrec loadtest --requests 10000 --warm-up 5 --out load.json
    """
    asked = _users(users, user_range)
    if plot is not None:
        require_drawable(plot)
    key = server.key_of(key_file)

    from llmrec_peft.serving.http.load_test.load_plan import LoadPlan, require_near
    from llmrec_peft.serving.http.load_test.load_test import load_test

    require_near(url, remote)
    if tenants == "all":
        with server.client_of(url, key_file) as client:
            names = [one.tenant for one in client.tenants()]
    else:
        names = tenants.split(",")
    plan = LoadPlan(
        url=url,
        tenants=names,
        users=asked,
        rate=rate,
        seconds=10.0 if seconds is None and requests is None else seconds,
        requests=requests,
        warm_up_s=warm_up,
        zipf=zipf,
        k=k,
        even=even,
        seed=seed,
        connections=connections,
        timeout_s=timeout,
        remote=remote,
    )
    report = load_test(plan, key, show=not quiet)
    if out is not None:
        with whole_file(out) as partial:
            partial.write_text(for_json(report.plain()) + "\n", encoding="utf-8")
    if plot is not None:
        from llmrec_peft.serving.http.load_test.load_plot import draw

        draw(report, plot)
    if as_json:
        print_json(report.plain())
    else:
        _print(report)
    if report.interrupted:
        raise typer.Exit(INTERRUPTED)
    if report.errors:
        print_note(f"{report.errors:,} requests had errors")
        raise typer.Exit(ERRORS)


def _users(file: Path | None, numbers: str) -> list[str]:
    """Return the ids of users.

    Raises:
        InputError: If the file cannot be read, or the range is none.
    """
    if file is not None:
        from llmrec_peft.workflows.user_files import read_users

        return read_users(file)[0]
    found = _RANGE.fullmatch(numbers)
    if found is None or not 0 <= int(found[2]) - int(found[1]) < _MOST_USERS:
        raise InputError(
            f"--user-range: {quoted(numbers)} is no range of at most {_MOST_USERS:,} numbers, such as 1-943"
        )
    return [str(number) for number in range(int(found[1]), int(found[2]) + 1)]


def _print(report: LoadReport) -> None:
    """Print the figures."""
    rates = f"{report.rate:g} requests per second asked, {report.offered:g} due, {report.achieved:g} answered"
    print_line(f"{rates}; {report.requests:,} in {report.seconds:g} s")
    print_line(", ".join(f"{count:,} {name}" for name, count in report.statuses.items()))
    rows = [["waited", *_cells(report.waited)], ["of this, before it was sent", *_cells(report.sent_late)]]
    print_table("", ["milliseconds", *_COLUMNS], rows, (1, 2, 3, 4))
    rows = [
        [
            "" if one.rank is None else str(one.rank),
            one.tenant,
            *(f"{count:,}" for count in (one.requests, one.refused, one.errors)),
            *_cells(one.waited),
        ]
        for one in report.tenants[:_RANKS_SHOWN]
    ]
    print_table("", ["rank", "tenant", "requests", "too busy", "errors", *_COLUMNS], rows, (0, *range(2, 9)))
    if len(report.tenants) > _RANKS_SHOWN:
        print_line(f"and {len(report.tenants) - _RANKS_SHOWN} more; --json prints them")


def _cells(waits: Waits | None) -> list[str]:
    if waits is None:
        return [""] * len(_COLUMNS)
    return [f"{one:.1f}" for one in (waits.p50, waits.p90, waits.p99, waits.max)]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("loadtest", cls=Command, rich_help_panel=SERVE)(loadtest)
