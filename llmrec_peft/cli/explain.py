"""`llmrec explain`: which evidence a score rests on, a test of that, and one or two sentences that say it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import USE, Command
from llmrec_peft.cli.output import print_json, print_line, print_table
from llmrec_peft.errors import InputError
from llmrec_peft.explanation.wording import TITLES, described


class Words(StrEnum):
    """Method that weighs the words of the item's text."""

    leave_one_out = "leave-one-out"
    integrated_gradients = "integrated-gradients"
    none = "none"


def explain(
    run: parameters.Run,
    user: Annotated[str, typer.Option("--user", metavar="ID", help="User id, as in the data.")],
    item: Annotated[str, typer.Option("--item", metavar="ID", help="Item id, as in the data.")],
    top: Annotated[int, typer.Option(metavar="N", min=1, help="Pieces of evidence shown of each kind.")] = 5,
    words: Annotated[
        Words,
        typer.Option(
            metavar="METHOD",
            help="How the item's words are weighed: leave-one-out, integrated-gradients, or none, which needs no pass"
            " of the language model.",
        ),
    ] = Words.leave_one_out,
    pairs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="Pairs of the run's deletion test; 0 for none.",
            show_default="100, or 8 where every score takes a pass of the language model",
        ),
    ] = None,
    delete: Annotated[int, typer.Option(metavar="N", min=1, help="Pieces that the deletion test deletes at once.")] = 3,
    draws: Annotated[int, typer.Option(metavar="N", min=1, help="Random draws of other pieces for each pair.")] = 10,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of the pairs and the draws.")] = 0,
    generate: Annotated[
        bool, typer.Option("--generate", help="Have a decoder write it in one or two sentences.")
    ] = False,
    decoder: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Decoder that writes: a backbone's name, a folder or a Hub id; with --generate.",
            show_default="the run's base if it is a decoder, else smollm2",
        ),
    ] = None,
    writer: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of a writer trained with head explanation; with --generate."),
    ] = None,
    keep_unsupported: Annotated[
        bool,
        typer.Option("--keep-unsupported", help="Keep sentences that name what is no evidence; with --generate."),
    ] = False,
    as_json: parameters.Json = False,
    quiet: parameters.NoBar = False,
) -> None:
    """Explain one score, and test the explanations of the run.

    The deletion test deletes the strongest pieces of evidence and says how much further the score falls than after
    deleting others.

    Words take most of the time: each tested item's text is encoded once without each of its words, and for each pair
    once more per draw. Fewer --pairs or --words none is faster. If scores are read from prompts, each entry of a user's
    history takes another prompt, so time grows with the length of histories.

    Examples:
      llmrec explain runs/movies-seed1 --user 1 --item 50
      llmrec explain runs/movies-seed1 --user 1 --item 50 --generate --json
    """
    if not generate and (decoder is not None or writer is not None or keep_unsupported):
        raise InputError("--decoder, --writer and --keep-unsupported belong to --generate: give it too")

    from llmrec_peft.workflows.explain import Asked, Writing
    from llmrec_peft.workflows.explain import explain as explain_pair

    asked = Asked(top, words.value, pairs, delete, draws, seed)
    writing = Writing(decoder, writer, keep_unsupported) if generate else None
    report = explain_pair(run, user, item, asked, writing, show=not quiet)
    if as_json:
        print_json(report)
    else:
        _print(report)


def _print(report: dict[str, Any]) -> None:
    unit = report["unit"]
    print_line(f"{report['title'] or report['item']} for user {report['user']}: {report['score']:.3f}")
    of_signals = [piece for piece in report["evidence"] if piece["kind"] == "signal"]
    rows = _rows(of_signals, unit)
    if any(piece["method"] == "exact" for piece in of_signals):  # then they add up to the score
        constants = [[f"{value:+.4f}", name, ""] for name, value in report["base"].items()]
        total = [f"{report['raw']:.4f}", "sum, before it is clamped or calibrated", ""]
        print_table(f"sum, in {unit}", [unit, "", "method"], [*constants, *rows, total], [0])
    else:
        print_table(f"signals, in {unit}", [unit, "", "method"], rows, [0])
    for kind, title in TITLES.items():
        pieces = [piece for piece in report["evidence"] if piece["kind"] == kind]
        if kind != "signal" and pieces:
            print_table(title, [unit, "", "method"], _rows(pieces, unit), [0])
    for line in report["notes"]:
        print_line(line)
    _print_faithfulness(report["faithfulness"])
    if "text" in report:
        _print_text(report["text"], report["generation"])


def _rows(pieces: list[dict[str, Any]], unit: str) -> list[list[str]]:
    return [[f"{piece['contribution']:+.4f}", described(piece, unit), piece["method"]] for piece in pieces]


def _print_faithfulness(faithfulness: Mapping[str, Any]) -> None:
    """Print the deletion tests: of this pair, then of the run's sample of pairs."""
    columns = ["deleted", "at once", "strongest", "others", "difference"]
    pair = [
        [TITLES[kind], *_falls(result), f"± {result['spread']:.4f}"] for kind, result in faithfulness["pair"].items()
    ]
    if pair:
        title = "deletion test of this pair: how far the score falls"
        print_table(title, [*columns, "spread"], pair, range(1, 6))
    run = faithfulness["run"] or {}
    results = [(title, run[kind]) for kind, title in TITLES.items() if kind in run]
    if results:
        rows = [
            [
                title,
                *_falls(result),
                f"[{result['low']:+.4f}, {result['high']:+.4f}]",
                str(result["pairs"]),
                "passes" if result["passes"] else "fails",
            ]
            for title, result in results
        ]
        title = "deletion test of the run: how far scores fall on average"
        print_table(title, [*columns, "95 %", "pairs", ""], rows, range(1, 8))


def _falls(result: Mapping[str, Any]) -> list[str]:
    return [str(result["k"]), *(f"{result[name]:+.4f}" for name in ("top_drop", "random_drop", "difference"))]


def _print_text(text: str, generation: Mapping[str, Any]) -> None:
    """Print the text, who wrote it, and whether it names something that is no evidence."""
    print_line(text)
    named, unsupported = len(generation["entities"]), len(generation["unsupported"])
    names = (
        "it names no title or entity"
        if generation["hallucination_rate"] is None
        else f"it names {named} titles or entities, {unsupported} of them no evidence"
    )
    cut = f"; {generation['cut']} sentences were cut" if generation["cut"] else ""
    replaced = "; a sentence of a fixed form replaces it" if generation["template"] else ""
    print_line(f"written by {generation['decoder']}: {names}{cut}{replaced}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain", cls=Command, rich_help_panel=USE)(explain)
