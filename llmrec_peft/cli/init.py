"""`llmrec init`: copy a recipe to own and edit, or write one for files of one's own."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from llmrec_peft.artifact.folder import whole_file
from llmrec_peft.artifact.place import require_file
from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import RECIPES, Command
from llmrec_peft.cli.output import print_json, print_line, print_note
from llmrec_peft.errors import InputError
from llmrec_peft.progress import Progress
from llmrec_peft.recipe import recipe_path
from llmrec_peft.recipe.yaml_file import parse_yaml

CUSTOM = "custom"
"""What stands in place of a recipe's name for files of one's own."""
_FILES, _COLUMNS, _WRITTEN = "Files of your own", "What the columns are", "How the files are written"


def _file(option: str, what: str) -> Any:
    return typer.Option(option, metavar="FILE", help=what, show_default=False, rich_help_panel=_FILES)


def _column(option: str, what: str, metavar: str = "COLUMN") -> Any:
    return typer.Option(option, metavar=metavar, help=what, show_default="guessed", rich_help_panel=_COLUMNS)


def _form(option: str, what: str, metavar: str = "TEXT") -> Any:
    return typer.Option(option, metavar=metavar, help=what, show_default="guessed", rich_help_panel=_WRITTEN)


def init(
    name: Annotated[
        str,
        typer.Argument(
            help="Registered recipe (llmrec list recipes), or 'custom' for files of your own.", metavar="RECIPE|custom"
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="YAML file to write.", show_default="RECIPE.yaml")
    ] = None,
    overwrite: parameters.Overwrite = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With 'custom': print recipe, guesses and evidence as JSON on stdout.")
    ] = False,
    quiet: parameters.Quiet = False,
    interactions: Annotated[
        Path | None, _file("--interactions", "One row for each rating, click or other interaction.")
    ] = None,
    items: Annotated[Path | None, _file("--items", "One row for each item: id, title, texts, categories.")] = None,
    users: Annotated[Path | None, _file("--users", "One row for each user.")] = None,
    graph: Annotated[
        Path | None, _file("--graph", "One row for each triple of a knowledge graph: head, relation, tail.")
    ] = None,
    graph_links: Annotated[
        Path | None, _file("--graph-links", "One row for each item and the entity of the graph that stands for it.")
    ] = None,
    user_column: Annotated[str | None, _column("--user-column", "Column of users' ids in the interactions.")] = None,
    item_column: Annotated[str | None, _column("--item-column", "Column of items' ids in the interactions.")] = None,
    rating_column: Annotated[str | None, _column("--rating-column", "Column of ratings, or of clicks.")] = None,
    time_column: Annotated[str | None, _column("--time-column", "Column of times.")] = None,
    time_form: Annotated[
        str | None, _column("--time-form", "How times are written: seconds, milliseconds, iso, day-first, ...", "FORM")
    ] = None,
    review_column: Annotated[str | None, _column("--review-column", "Column of what users wrote.")] = None,
    feedback: Annotated[
        str | None, _column("--feedback", "What a row means: rating, click or implicit.", "KIND")
    ] = None,
    scale: Annotated[str | None, _column("--scale", "Lowest and highest rating, such as 1,5.", "LOW,HIGH")] = None,
    title_column: Annotated[str | None, _column("--title-column", "Column of titles in the items.")] = None,
    items_id_column: Annotated[str | None, _column("--items-id-column", "Column of ids in the items.")] = None,
    users_id_column: Annotated[str | None, _column("--users-id-column", "Column of ids in the users.")] = None,
    head_column: Annotated[str | None, _column("--head-column", "Column of heads in the graph.")] = None,
    relation_column: Annotated[str | None, _column("--relation-column", "Column of relations in the graph.")] = None,
    tail_column: Annotated[str | None, _column("--tail-column", "Column of tails in the graph.")] = None,
    links_item_column: Annotated[str | None, _column("--links-item-column", "Column of items in the links.")] = None,
    links_entity_column: Annotated[
        str | None, _column("--links-entity-column", "Column of entities in the links.")
    ] = None,
    delimiter: Annotated[str | None, _form("--delimiter", "What separates cells, in all files; \\t for a tab.")] = None,
    encoding: Annotated[str | None, _form("--encoding", "Encoding of all files, such as utf-8 or gb18030.")] = None,
    no_header: Annotated[
        bool, typer.Option("--no-header", help="No file has a line of names.", rich_help_panel=_WRITTEN)
    ] = False,
    form: Annotated[
        list[str] | None,
        typer.Option(
            "--form",
            metavar="FILE.FIELD=VALUE",
            help="How one file is written, such as items.encoding=latin-1 or users.header=false; may be repeated.",
            rich_help_panel=_WRITTEN,
        ),
    ] = None,
    skip_bad: Annotated[
        int,
        typer.Option("--skip-bad", min=0, metavar="N", help="Bad rows that a file may have.", rich_help_panel=_WRITTEN),
    ] = 0,
) -> None:
    """Copy a recipe's YAML, comments included, into a file of your own; or write a recipe for your own files.

    With 'custom', the files are read and the recipe says of each column what it was taken for, and why. What is unsure
    is printed on stderr and marked in the file. Only what cannot be guessed is asked for, by the name of an option.

    Examples:
      llmrec init movies --out films.yaml
      llmrec init custom --interactions ratings.csv --items films.csv
      llmrec init custom --interactions plays.tsv.gz --feedback implicit --no-header
    """
    if name != CUSTOM:
        files = {"interactions": interactions, "items": items, "users": users, "graph": graph}
        _require_none({**files, "graph-links": graph_links})
        _copy(name, out, overwrite)
        return
    given = {
        "user_column": user_column,
        "item_column": item_column,
        "rating_column": rating_column,
        "time_column": time_column,
        "time_form": time_form,
        "review_column": review_column,
        "feedback": _one_of(feedback, ("rating", "click", "implicit"), "--feedback"),
        "scale": _scale(scale),
        "title_column": title_column,
        "items_id_column": items_id_column,
        "users_id_column": users_id_column,
        "head_column": head_column,
        "relation_column": relation_column,
        "tail_column": tail_column,
        "links_item_column": links_item_column,
        "links_entity_column": links_entity_column,
        "delimiter": None if delimiter is None else delimiter.replace("\\t", "\t"),
        "encoding": encoding,
        "header": False if no_header else None,
        "skip_bad": skip_bad,
        **dict(_assigned(one) for one in form or []),
    }
    if interactions is None:
        raise InputError("--interactions FILE: name the file with one row for each rating, click or other interaction")
    files = {"interactions": interactions, "items": items, "users": users, "graph": graph, "graph_links": graph_links}
    _custom(files, out, overwrite, as_json, given, Progress(not quiet))


def _custom(
    files: dict[str, Path | None],
    out: Path | None,
    overwrite: bool,
    as_json: bool,
    given: dict[str, Any],
    progress: Progress,
) -> None:
    """Write a recipe for files of the user's own; with `as_json` and no `out` only print it."""
    from llmrec_peft.custom.propose import propose

    interactions = files["interactions"]
    assert interactions is not None  # noqa: S101 - `init` refuses
    target = out or Path(f"{interactions.name.split('.')[0] or CUSTOM}.yaml")
    writes = out is not None or not as_json
    if writes:
        require_file(target, overwrite)  # before files are read, which can take a minute
    proposal = propose(
        interactions, files["items"], files["users"], files["graph"], given, progress, files["graph_links"]
    )
    for line in proposal.unsure:
        print_note(f"unsure: {line}")
    for line in proposal.notes:
        print_note(f"left out: {line}")
    if writes:
        with whole_file(target, overwrite) as partial:
            partial.write_text(proposal.text, encoding="utf-8")
    if as_json:
        print_json({**({"file": str(target)} if writes else {}), **proposal.plain()})
        return
    recipe = proposal.recipe
    print_line(f"{target} written: {recipe.head.name} head, {recipe.data.split} split; look at its comments, then:")
    print_line(f"llmrec train {shlex.quote(_as_path(target))}")


def _copy(name: str, out: Path | None, overwrite: bool) -> None:
    """Copy a registered recipe."""
    source = recipe_path(name)
    target = out or Path(f"{Path(name).stem}.yaml")
    copies = {target: source}
    demo = source.with_name(f"{source.stem}.demo.yaml")
    if demo.is_file():  # settings of this recipe alone for made-up data, found by their name
        copies[target.with_name(f"{target.stem}.demo.yaml")] = demo
    for copy in copies:
        require_file(copy, overwrite)  # both, before one is written
    for copy, original in copies.items():
        with whole_file(copy, overwrite) as partial:
            partial.write_text(original.read_text(encoding="utf-8"), encoding="utf-8")
    print_line(f"{target} written; edit it, then: llmrec train {_as_path(target)} --data DIR")


def _require_none(files: dict[str, Path | None]) -> None:
    for option, path in files.items():
        if path is not None:
            raise InputError(f"--{option} is for files of your own: llmrec init custom --{option} {path}")


def _one_of(value: str | None, known: tuple[str, ...], option: str) -> str | None:
    if value is not None and value not in known:
        raise InputError(f"{option}: {value!r} is none of {', '.join(known)}")
    return value


def _scale(value: str | None) -> tuple[float, float] | None:
    if value is None:
        return None
    try:
        low, high = (float(part) for part in value.split(","))
    except ValueError:
        raise InputError(f"--scale: {value!r} is not LOW,HIGH, such as 1,5") from None
    if not low < high:
        raise InputError(f"--scale: {low:g} is not below {high:g}")
    return low, high


def _assigned(text: str) -> tuple[str, Any]:
    """Split ``items.encoding=latin-1`` into its field and its value."""
    field, equals, value = text.partition("=")
    if not equals or "." not in field:
        raise InputError(f"--form {text[:80]!r}: write it as FILE.FIELD=VALUE, such as items.encoding=latin-1")
    texts = field.rpartition(".")[2] in ("delimiter", "quote", "encoding", "decimal")
    return field, value.replace("\\t", "\t") if texts else parse_yaml(value, f"--form {field}")


def _as_path(target: Path) -> str:
    return str(target) if target.suffix in (".yaml", ".yml") else f"./{target}"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("init", cls=Command, rich_help_panel=RECIPES)(init)
