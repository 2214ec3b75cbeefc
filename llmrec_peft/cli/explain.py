"""`llmrec explain`: what carried a score, whether that is true, and one or two sentences that say it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from llmrec_peft.cli.output import print_json, print_table
from llmrec_peft.errors import InputError


class Words(StrEnum):
    """How words of the item's text are weighed."""

    leave_one_out = "leave-one-out"
    integrated_gradients = "integrated-gradients"
    none = "none"


def explain(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    user: Annotated[str, typer.Option("--user", help="User id, as in the data.")],
    item: Annotated[str, typer.Option("--item", help="Item id, as in the data.")],
    top: Annotated[int, typer.Option(min=1, help="Pieces told of each kind.")] = 5,
    words: Annotated[
        Words, typer.Option(help="How words are weighed; none spares the language model.")
    ] = Words.leave_one_out,
    pairs: Annotated[
        int | None, typer.Option(min=0, help="Pairs of the run's deletion test; 0 for none.", show_default="100")
    ] = None,
    delete: Annotated[int, typer.Option(min=1, help="Pieces that it takes away at once.")] = 3,
    draws: Annotated[int, typer.Option(min=1, help="Draws of other pieces for each pair.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Seed of pairs and draws.")] = 0,
    generate: Annotated[
        bool, typer.Option("--generate", help="Let a decoder write it in one or two sentences.")
    ] = False,
    decoder: Annotated[
        str | None, typer.Option(help="Decoder that writes [default: the run's base, else smollm2].")
    ] = None,
    writer: Annotated[Path | None, typer.Option(help="Folder of a writer trained with head explanation.")] = None,
    keep_unsupported: Annotated[
        bool, typer.Option("--keep-unsupported", help="Leave in what names something that is no evidence.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Explain one score, and test the explanations of the run.

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


TITLES = {
    "signal": "signals",
    "history": "items of the user's history",
    "word": "words of the item's text",
    "path": "connections in the graph",
}
"""What kinds of evidence are called."""


def _print(report: dict[str, Any]) -> None:
    unit = report["unit"]
    typer.echo(f"{report['title']} for user {report['user']}: {report['score']:.3f}")
    base = [[name, f"{value:+.4f}", ""] for name, value in report["base"].items()]
    of_signals = [one for one in report["evidence"] if one["kind"] == "signal"]
    exact = any(one["method"] == "exact" for one in of_signals)
    rows = [[_what(one, unit), f"{one['contribution']:+.4f}", one["method"]] for one in of_signals]
    whole = [["together, before it is clamped or calibrated", f"{report['raw']:.4f}", ""]]
    print_table(
        f"{'sum' if exact else 'signals'}, in {unit}",
        ["", unit, "how"],
        [*base, *rows, *whole] if exact else rows,
        [1],
    )
    for kind, title in TITLES.items():
        found = [one for one in report["evidence"] if one["kind"] == kind]
        if kind == "signal" or not found:
            continue
        body = [[_what(one, unit), f"{one['contribution']:+.4f}", one["method"]] for one in found]
        print_table(title, ["", unit, "how"], body, [1])
    for line in report["notes"]:
        typer.echo(line)
    _print_faithfulness(report["faithfulness"])
    if "text" in report:
        _print_text(report["text"], report["generation"])


def _what(one: dict[str, Any], unit: str) -> str:
    """A piece in words; of a history's item, what the user thought of it."""
    if "label" not in one or unit not in _OPINIONS:
        return str(one["what"])
    told = f"rated {one['label']:g}" if unit == "stars" else "liked" if one["label"] > 0 else "not liked"
    return f"{one['what']} ({told})"


_OPINIONS = ("stars", "log-odds")
"""Units of runs whose labels say what a user thought; in rankings they say that he met the item."""


def _print_faithfulness(found: dict[str, Any]) -> None:
    rows = []
    for kind, one in found["pair"].items():
        figures = [f"{one[name]:+.4f}" for name in ("top_drop", "random_drop", "difference")]
        rows.append(["this pair", TITLES[kind], str(one["k"]), *figures, f"± {one['spread']:.4f}", ""])
    run = found["run"] or {}
    for kind, title in TITLES.items():
        if kind in run:
            one = run[kind]
            figures = [f"{one[name]:+.4f}" for name in ("top_drop", "random_drop", "difference")]
            interval = f"[{one['low']:+.4f}, {one['high']:+.4f}]"
            verdict = "passes" if one["passes"] else "fails"
            rows.append([f"{one['pairs']} pairs", title, str(one["k"]), *figures, interval, verdict])
    if rows:
        columns = ["deletion test", "taken away", "at once", "the first", "others", "difference", "spread", ""]
        print_table("how far the score falls", columns, rows, [2, 3, 4, 5, 6])


def _print_text(text: str, generation: dict[str, Any]) -> None:
    typer.echo(text)
    rate = generation["hallucination_rate"]
    named = len(generation["entities"])
    told = (
        "names nothing of its own"
        if rate is None
        else f"names {named}, {len(generation['unsupported'])} of them no evidence"
    )
    cut = f"; {generation['cut']} sentences cut" if generation["cut"] else ""
    stands = "; a fixed sentence stands in for it" if generation["template"] else ""
    typer.echo(f"written by {generation['decoder']}: {told}{cut}{stands}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain")(explain)
