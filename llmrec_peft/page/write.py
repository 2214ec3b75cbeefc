"""Write the page of a run: one HTML file with its figures, charts and recipe, without scripts and without network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from llmrec_peft.artifact.folder import whole_file
from llmrec_peft.artifact.manifest import is_there
from llmrec_peft.errors import InputError
from llmrec_peft.identity import __version__
from llmrec_peft.page.charts import curve
from llmrec_peft.page.examples import Examples, ShownItem, examples_of
from llmrec_peft.page.heads import ShownHead, shown_head
from llmrec_peft.page.numbers import count, duration, figure, memory, share
from llmrec_peft.page.run_report import RunFacts, RunReport, read_run
from llmrec_peft.printable import for_terminal
from llmrec_peft.recipe import DEMO

_HERE = Path(__file__).parent
_SAID = {True: "yes", False: "no"}
_EPOCHS = 1000
"""Epochs whose figures are listed."""
_NO_EXAMPLES = (
    "What single users are recommended tells about them, so this page shows none;"
    " llmrec report RUN --user ID writes a page with some."
)


@dataclass(frozen=True)
class Page:
    """A page that was written.

    Attributes:
        file: Where it lies.
        users: How many users' recommendations it shows.
        notes: What is to be said of it, one line each.
    """

    file: Path
    users: int
    notes: tuple[str, ...]


def write_page(
    run: Path,
    out: Path,
    users: Sequence[str] | None = None,
    k: int = 10,
    examples: bool = True,
    overwrite: bool = False,
) -> Page:
    """Write the page of a run folder.

    The page holds no interaction of anybody. Recommendations of single users are on it where they are asked for, or
    where the data are made up.

    Args:
        run: Run folder, of a recommender or a writer.
        out: File to write.
        users: Users whose recommendations are shown; None for a few where the data are made up, else nobody.
        k: Items a user.
        examples: Whether recommendations may be shown at all.
        overwrite: Whether to replace a file that exists.

    Raises:
        InputError: If `run` is no run folder, its figures are not what a run writes, it cannot recommend to the users
            that were asked for, or the file cannot be written.
    """
    facts = read_run(run)
    found, note = _examples(facts, run, users, k, examples)
    text = render(facts, found, note, asked=users is not None)
    with whole_file(out, overwrite) as partial:
        partial.write_text(text, encoding="utf-8")
    return Page(out, 0 if found is None else len(found.users), note if found is None else ())


def _examples(
    facts: RunFacts, run: Path, users: Sequence[str] | None, k: int, wanted: bool
) -> tuple[Examples | None, tuple[str, ...]]:
    """Recommend to the users that were asked for, or to some of made-up data; else say why there are no examples."""
    if not is_there(run / "head.safetensors"):
        if users is not None:
            raise InputError(f"{run}: a writer of explanations recommends nothing: leave --user out")
        return None, ()
    if not wanted:
        return None, ()
    if users is not None:
        return examples_of(run, users, k), ()
    data = facts.recipe.get("data")
    if not isinstance(data, dict) or data.get("path") != DEMO:
        return None, (_NO_EXAMPLES,)
    try:
        return examples_of(run, None, k), ()
    except InputError as error:
        return None, (f"There are no recommendations here: {error}",)


def render(facts: RunFacts, examples: Examples | None, note: Sequence[str] = (), asked: bool = False) -> str:
    """Return the page as HTML.

    Args:
        facts: What is read of the run folder.
        examples: Recommendations of some users.
        note: Why there are none.
        asked: Whether they are of users that were asked for, and not of made-up data.

    Raises:
        InputError: If the figures do not go together as in a report that a run writes.
    """
    report = facts.report
    try:
        adapted = report.parameters.get("adapter", 1) > 0
        every = [(report.head, report), *report.heads.items()]
        heads = [shown_head(name, one, adapted) for name, one in every]
    except KeyError as error:
        raise InputError(f"metrics.json is not what a run writes (no figures of {error})") from None
    chosen = report.training.epochs
    history = report.training.history
    metric = heads[0].metric
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else for_terminal(value),
    )
    environment.filters["figure"] = figure
    description = facts.recipe.get("description")
    return environment.get_template(
        "page.html.jinja"
    ).render(
        report=report,
        css=Markup((_HERE / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
        subtitle=_subtitle(report, heads),
        recipe_description=description[:1000] if isinstance(description, str) else "",
        heads=heads,
        training_line=_training(report),
        curve=curve(f"{metric} on validation by epoch", history, chosen) if len(history) > 1 else None,
        curve_caption=f"{metric} on validation after each epoch; the mark is the epoch that was chosen.",
        history=history[:_EPOCHS],
        cost=list(_cost(report)),
        data=list(_data(report)),
        recipe_lines=facts.recipe_lines,
        digest=facts.digest,
        version=__version__,
        **_shown_examples(examples, note, asked),
    )


def _shown_examples(examples: Examples | None, note: Sequence[str], asked: bool) -> dict[str, Any]:
    """Return what the template needs to know of the examples."""
    shown = {"private": asked, "examples": [], "examples_note": list(note), "score_name": "score"}
    shown["privacy"] = "It holds no interactions and no histories of anybody."
    if examples is None:
        return {**shown, "private": False}
    first = (
        "These are recommendations to single users, which tell about them: think before you pass this page on."
        " What they rated is not shown."
        if asked
        else "The data are made up, so these users are, too."
    )
    without = f"{count(examples.without_item)} of {count(examples.catalogue)} items have no training interaction"
    how = "the language model knows them by their texts" if examples.reads_text else "nothing tells them apart"
    shown["examples_note"] = [first, f"{without}; {how}." if examples.without_item else "Every item was rated."]
    shown["score_name"] = examples.score
    shown["examples"] = [
        {
            "user_id": one.user_id,
            "known": one.known,
            "chosen": [_shown_item(item, one.known, examples.reads_text) for item in one.items],
            "fresh": [_shown_item(item, one.known, examples.reads_text) for item in one.new_items],
        }
        for one in examples.users
    ]
    if asked:
        shown["privacy"] = "It holds recommendations of single users, and no interactions of theirs."
    return shown


def _shown_item(item: ShownItem, known: bool, reads_text: bool) -> dict[str, Any]:
    times = "interaction" if item.interactions == 1 else "interactions"
    rated = f"{count(item.interactions)} training {times}"
    if not known:
        basis = f"popularity: {rated}"
    elif item.interactions:
        basis = rated
    else:
        basis = "its text alone: never rated" if reads_text else "never rated"
    return {**asdict(item), "basis": basis}


def _subtitle(report: RunReport, heads: Sequence[ShownHead]) -> str:
    kinds = " and ".join(head.name for head in heads)
    protocol = ", ".join(
        f"{name.replace('_', ' ')} {_SAID.get(value, value) if isinstance(value, bool) else value}"
        for name, value in list(report.protocol.items())[:8]
    )
    return f"{kinds}; seed {report.seed}{'; ' if protocol else ''}{protocol}"[:600]


def _training(report: RunReport) -> str:
    epochs = report.training.epochs
    chosen = "by cross-validation" if report.recommended.chosen_by == "folds" else "on validation"
    line = f"{count(epochs)} {'epoch' if epochs == 1 else 'epochs'}, chosen {chosen}."
    refit = {
        True: "The final model was trained again on training and validation.",
        "recount": ("The weights are those of training; validation was added to what is counted."),
    }
    more = refit.get(report.training.refit, "") if isinstance(report.training.refit, bool | str) else ""
    return f"{line} {more}".strip()


def _cost(report: RunReport) -> Iterator[tuple[str, str]]:
    """Yield names and values of what the run took."""
    parameters = report.parameters
    total, trained = parameters.get("total"), parameters.get("trainable")
    if total and trained is not None:
        yield "parameters", f"{count(total)}, of which {count(trained)} were trained ({share(trained / total)})"
    for name, value in parameters.items():
        if name not in ("total", "trainable"):
            yield f"parameters: {name}", count(value)
    called = {
        "prepare": "reading data and base",
        "encode": "reading texts untuned",
        "train": "tuning",
        "before": "the run before tuning",
        "ablations": "variants and ablations",
        "total": "all",
    }
    for name, seconds in report.seconds.items():
        yield f"time: {called.get(name, name)}", duration(seconds)
    for name, megabytes in report.peak_memory_mb.items():
        if megabytes is not None:
            kind = {"rss": "main memory", "cuda": "GPU"}.get(name, name)
            yield f"peak memory: {kind}", memory(megabytes)
    base = report.base
    for name, key in (("language model", "name"), ("its weights, SHA-256", "weights_sha256"), ("precision", "compute")):
        if base.get(key):
            yield name, str(base[key])[:200]
    if base.get("quantization") not in (None, "none"):
        yield "quantization", str(base["quantization"])[:40]
    machine = [str(report.hardware[key])[:100] for key in ("cuda", "processor") if report.hardware.get(key)]
    if machine:
        yield "machine", ", ".join(machine)
    if report.versions:
        yield "versions", ", ".join(f"{name} {value}"[:60] for name, value in list(report.versions.items())[:20])


def _data(report: RunReport) -> Iterator[tuple[str, str]]:
    """Yield names and values of what the run learned from."""
    data = report.data
    yield "name", data.name
    for name, number in (("users", data.users), ("items", data.items)):
        if number is not None:
            yield name, count(number)
    yield "training", f"{count(data.train)} examples"
    yield "validation", f"{count(data.valid)} examples"
    yield "test", f"{count(data.test)} examples"
    if data.licence:
        yield "licence", data.licence
