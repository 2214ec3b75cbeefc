"""`llmrec describe`: what data are like, and what a recipe would make of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import LOOK, Command
from llmrec_peft.cli.output import print_json, print_line, print_note, print_table

_COLUMNS = 40
"""Columns of a table of items or users that are shown; --json has more."""


def _table(option: str, of: str) -> Any:
    return typer.Option(option, metavar="FILE", help=f"Table of {of}, beside a table of interactions.")


def describe(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE|FILE",
            help="Registered recipe (llmrec list recipes), a recipe's YAML file, or a table of interactions: CSV, TSV,"
            " JSON lines or Parquet, also compressed.",
        ),
    ],
    data: parameters.Data = None,
    items: Annotated[Path | None, _table("--items", "items")] = None,
    users: Annotated[Path | None, _table("--users", "users")] = None,
    graph: Annotated[Path | None, _table("--graph", "a knowledge graph")] = None,
    overrides: parameters.Overrides = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="DIR", help="Also draw PNG pictures into this folder; needs matplotlib."),
    ] = None,
    as_json: parameters.Json = False,
    quiet: parameters.Quiet = False,
) -> None:
    """Describe data: sizes, skew, texts, times, duplicates, leaks, and what a recipe would cut and train on.

    Nothing is trained, and data that give answers away are described, too. A table of your own is read by the recipe
    that llmrec init custom would write for it.

    Examples:
      llmrec describe movies --data data/ml-100k
      llmrec describe ratings.csv --items films.csv --plot pictures
      llmrec describe my.yaml --json
    """
    from llmrec_peft.overview.describe import describe as described
    from llmrec_peft.overview.source import recipe_of
    from llmrec_peft.progress import Progress

    recipe, unsure = recipe_of(source, data, items, users, graph, overrides or ())
    report = {**described(recipe, progress=Progress(not quiet)), "unsure": list(unsure)}
    if plot is not None:
        from llmrec_peft.overview.plots import write_plots

        for file in write_plots(report, plot):
            print_note(f"drew {file}")
    if as_json:
        print_json(report)
    else:
        _print(report)


def _print(report: Mapping[str, Any]) -> None:
    """Print a description as tables and sentences."""
    rows = [*_sizes(report), *_times(report["time"])]
    print_table(str(report["name"]), ["what", "value"], [list(row) for row in rows])
    print_table(
        "interactions", ["of", *_SPREAD, "with one"], [_spread_row(report, what) for what in ("user", "item")], _RIGHT
    )
    _print_labels(report["labels"])
    _print_columns(report["columns"])
    _print_texts(report["texts"], report["tokens"])
    if "parts" in report:
        _print_parts(report["parts"])
        for line in _cuts(report["cut"]):
            print_line(line)
    _print_recipe(report["recipe"])
    _print_warnings(report)


_SPREAD = ("min", "median", "p90", "max", "mean")
_RIGHT = range(1, len(_SPREAD) + 2)


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" if isinstance(value, float) else str(value)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _sizes(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    sizes, popularity, repeated = report["sizes"], report["popularity"], report["duplicates"]["pairs_seen_before"]
    yield "interactions", _number(sizes["interactions"])
    for what in ("users", "items"):
        active = sizes[f"{what}_with_interactions"]
        yield what, f"{sizes[what]:,}" + ("" if active == sizes[what] else f", {active:,} with interactions")
    yield "density", f"{100 * sizes['density']:.3g} % of the pairs of users and items with interactions"
    seen = "again and again is meant" if report["duplicates"]["repeats"] else "the newest of each pair is kept"
    yield "pairs seen before", f"{repeated:,}" + (f" ({seen})" if repeated else "")
    top = (_percent(popularity[f"share_of_top_{percent}_percent"]) for percent in (1, 10))
    yield "popularity", "Gini {:.3f}; the top 1 % of items have {}, the top 10 % {}".format(popularity["gini"], *top)
    if report["graph"] is not None:
        yield "knowledge graph", f"{report['graph']['triples']:,} triples, {report['graph']['links']:,} linked items"


def _times(time: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if not time["known"]:
        why = ": the order was drawn at random" if time.get("drawn") else ": all are equal" if time.get("equal") else ""
        yield "times", f"none{why}"
        return
    span = "an order, no dates" if time["days"] is None else f"{time['days']:,g} days, in {time['unit']}"
    yield "times", f"{time['first']} to {time['last']} ({span}), half of them by {time['median']}"
    most = max(row["interactions"] for row in time["over_time"])
    bars = "".join("▁▂▃▄▅▆▇█"[round(7 * row["interactions"] / most)] for row in time["over_time"])
    yield "over time", bars


def _spread_row(report: Mapping[str, Any], what: str) -> list[str]:
    found = report[f"per_{what}"]
    return [
        f"a {what}" if what == "user" else f"an {what}",
        *(_number(found.get(n, 0)) for n in _SPREAD),
        _number(found["with_one"]),
    ]


def _print_labels(labels: Mapping[str, Any]) -> None:
    low, high = labels["scale"]
    title = f"labels: {labels['feedback']}, scale {low:g} to {high:g}, {labels['distinct']:,} distinct"
    if "counts" in labels:
        rows = [[f"{row['label']:g}", f"{row['count']:,}", _percent(row["share"])] for row in labels["counts"]]
        print_table(title, ["label", "interactions", "share"], rows, (1, 2))
    else:
        print_table(title, list(_SPREAD), [[_number(labels[name]) for name in _SPREAD]], range(len(_SPREAD)))


def _print_columns(tables: Mapping[str, Any]) -> None:
    for name, described in tables.items():
        rows = [
            [
                row["name"],
                row["type"],
                _percent(row["share"]),
                "–" if row["distinct"] is None else f"{row['distinct']:,}",
            ]
            for row in described[:_COLUMNS]
        ]
        print_table(f"columns of {name}", ["column", "type", "filled", "distinct"], rows, (2, 3))


def _print_texts(texts: Mapping[str, Any], tokens: Mapping[str, Any]) -> None:
    rows = [["characters", *(_number(texts["characters"].get(name, 0)) for name in _SPREAD)]]
    if "unknown" not in tokens:
        rows.append(["tokens", *(_number(tokens.get(name, 0)) for name in _SPREAD)])
    having = texts["items"] - texts["without_text"]
    title = f"texts: {having:,} of {texts['items']:,} items have one, {texts['distinct']:,} distinct"
    print_table(title, ["an item's text in", *_SPREAD], rows, range(1, len(_SPREAD) + 1))
    of = "" if texts["looked_at"] == texts["distinct"] else f" (of {texts['looked_at']:,} that were looked at)"
    scripts = ", ".join(f"{row['script']} {_percent(row['share'])}" for row in texts["scripts"][:8])
    print_line(f"scripts{of}: {scripts or 'no text'}")
    if texts["with_markup"]:
        print_line(f"{texts['with_markup']:,} texts hold HTML entities or tags{of}")
    if "unknown" in tokens:
        print_line(f"tokens are not counted: {tokens['unknown']}")
    else:
        print_line(
            f"{tokens['cut']:,} texts are longer than the {tokens['kept']} tokens that are kept, and would be cut{of}"
        )
        if tokens["share_unknown"] > 0.0:
            print_line(f"{_percent(tokens['share_unknown'])} of all tokens stand for what the vocabulary lacks{of}")
    print_line("")


def _print_parts(parts: Mapping[str, Any]) -> None:
    rows = []
    for name, part in parts.items():
        cold = [
            f"{part[f'cold_{what}']:,} ({_percent(part[f'share_of_cold_{what}'])})" if name != "train" else ""
            for what in ("users", "items")
        ]
        rows.append([name, f"{part['interactions']:,}", f"{part['users']:,}", f"{part['items']:,}", *cold])
    columns = ["part", "interactions", "users", "items", "new users (of interactions)", "new items (of interactions)"]
    print_table("parts; new is what nothing has that is learned from", columns, rows, range(1, len(columns)))


def _cuts(cut: Mapping[str, Any]) -> Iterator[str]:
    if cut["items"]["kept"] < cut["items"]["there"]:
        yield f"{cut['items']['kept']:,} of {cut['items']['there']:,} items are kept (data.max_items)"
    interactions = cut["interactions"]
    if interactions["in_a_part"] < interactions["there"]:
        yield f"{interactions['in_a_part']:,} of {interactions['there']:,} interactions are in one of the parts"
    if "histories" in cut:
        told = cut["histories"]
        median, most = told["entries"].get("median", 0), told["entries"].get("max", 0)
        yield (
            f"histories have {median:g} entries (median), {most:,} at most; {told['empty']:,} are empty,"
            f" {told['cut']:,} are cut to the newest {told['history_length']}"
        )


def _print_recipe(recipe: Mapping[str, Any]) -> None:
    heads = ", ".join(f"{name} ({task})" for name, task in recipe["heads"].items())
    print_line(
        f"recipe {recipe['name']}: head {heads}; {recipe['split']} split; {recipe['adapter']} in {recipe['backbone']};"
        f" signals {', '.join(recipe['signals'])}; {recipe['epochs']} epochs at most"
    )


def _print_warnings(report: Mapping[str, Any]) -> None:
    for line in report["notes"]:
        print_line(f"note: {line}")
    for line in report.get("unsure", ()):
        print_line(f"not sure: {line}")
    if "refused" in report:
        print_line(f"llmrec train would refuse this: {report['refused']}")
        return
    for line in report["leaks"]:
        print_line(f"LEAK: {line}")
    if not report["leaks"]:
        print_line("leak check: nothing was found that gives test examples away")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("describe", cls=Command, rich_help_panel=LOOK)(describe)
