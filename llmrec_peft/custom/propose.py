"""Propose: a commented recipe of a user's own files, in which each guess stands with its evidence."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmrec_peft.custom.bad_rows import without_bad_rows
from llmrec_peft.custom.columns import TABLES
from llmrec_peft.custom.commented_yaml import comment_lines, commented_yaml
from llmrec_peft.custom.files import read_own
from llmrec_peft.custom.graph_guesses import require_graph_of_links
from llmrec_peft.custom.guess import Guess, Looked
from llmrec_peft.custom.matrix import require_no_matrix
from llmrec_peft.custom.repeated_names import require_one_meaning
from llmrec_peft.custom.settings import READS_ENGLISH, has_chinese_texts, recipe_values
from llmrec_peft.custom.understand import COLUMN_OPTIONS, Understood, understood
from llmrec_peft.errors import InputError, nearest
from llmrec_peft.printable import for_terminal, quoted, shown
from llmrec_peft.progress import SILENT, Progress
from llmrec_peft.recipe import Recipe
from llmrec_peft.recipe.yaml_file import parse_yaml
from llmrec_peft.tabular.form import FileForm
from llmrec_peft.tabular.places import lines_of_rows
from llmrec_peft.tabular.sniff import Sniffed, sniffed
from llmrec_peft.tabular.table_read import TableRead

_FORM = tuple(FileForm.model_fields)
_WIDEST = 200
"""Characters of a row of the table of columns."""


@dataclass(frozen=True)
class Proposal:
    """A recipe of a user's own files.

    Attributes:
        text: The recipe as commented YAML.
        recipe: The same, validated.
        unsure: What should be looked at, one line each.
        notes: What was left out of the files while they were read, one line each.
        guesses: Each guess with its evidence.
        forms: How each file is written, and why that was taken for it, by table and field.
    """

    text: str
    recipe: Recipe
    unsure: tuple[str, ...]
    notes: tuple[str, ...]
    guesses: tuple[Guess, ...]
    forms: Mapping[str, Sniffed]

    def plain(self) -> dict[str, Any]:
        """Return the proposal as plain values."""
        guesses = [
            {"table": g.table, "role": g.role, "column": g.column, "evidence": g.said, "unsure": g.unsure}
            for g in self.guesses
        ]
        forms = {
            table: {"form": found.form.model_dump(mode="json"), "evidence": dict(found.evidence)}
            for table, found in self.forms.items()
        }
        return {
            "recipe": self.recipe.plain(),
            "files": forms,
            "columns": guesses,
            "unsure": list(self.unsure),
            "notes": list(self.notes),
        }


def propose(
    interactions: Path,
    items: Path | None = None,
    users: Path | None = None,
    graph: Path | None = None,
    given: Mapping[str, Any] | None = None,
    progress: Progress = SILENT,
    graph_links: Path | None = None,
) -> Proposal:
    """Read a user's own files and write a recipe of them.

    Args:
        interactions: File with one row for each rating, click or other interaction.
        items: File with one row for each item.
        users: File with one row for each user.
        graph: File with one row for each triple of a knowledge graph.
        given: What need not be guessed: of columns, by the names in `understand.COLUMN_OPTIONS`; of the form of all
            files, by the fields of `tabular.form.FileForm`, or of one file, such as ``items.encoding``; ``name``, the
            recipe's; ``skip_bad``, how many bad rows a file may have.
        progress: Where to say what is read.
        graph_links: File with one row for each item that an entity of the graph stands for.

    Raises:
        InputError: For a file that cannot be read, an unknown option, and for what cannot be guessed: it names the
            option that tells it.
    """
    options = {key: value for key, value in (given or {}).items() if value is not None}
    require_graph_of_links(graph, graph_links, "--graph-links")
    given_paths = (interactions, items, users, graph, graph_links)
    paths = {str(table): path for table, path in zip(TABLES, given_paths, strict=True) if path is not None}
    columns, forms_given, skip_bad, name = _divided(options)
    _require_distinct(paths, columns)
    looked: dict[str, Looked] = {}
    forms: dict[str, Sniffed] = {}
    reads: dict[str, TableRead] = {}
    for table, path in paths.items():
        progress.note(f"reading {shown(path)}")
        forms[table] = sniffed(path, {**forms_given.get("", {}), **forms_given.get(table, {})})
        form = forms[table].form
        reads[table] = read_own(path, form, skip_bad, progress)
        headed = form.header or form.format != "delimited"
        if table == "interactions" and ("user_column" not in columns or "item_column" not in columns):
            require_no_matrix(reads[table].table, path.name, headed)
        place = functools.partial(_line, path, form, reads[table])
        looked[table] = Looked.at(reads[table].table, path.name, headed, skip_bad, place)
    found = understood(looked, columns)
    for table, path in paths.items():
        require_one_meaning(table, path, forms[table], reads[table], found.columns, columns)
    notes = _left_out(paths, forms, reads, found, skip_bad)
    folder, names = _common(paths)
    text = _text(name or Path(names["interactions"]).name.split(".")[0], folder, names, found, forms, skip_bad)
    recipe = Recipe.from_plain(parse_yaml(text, "the proposed recipe"))
    unsure = [f"{table}, {line}" for table, sniff in forms.items() for line in _unsure(sniff)]
    base = [f"backbone.name, {recipe.backbone.name}: {READS_ENGLISH}"] if has_chinese_texts(found) else []
    return Proposal(text, recipe, (*unsure, *found.unsure, *base), tuple(notes), found.guesses, forms)


def _require_distinct(paths: Mapping[str, Path], columns: Mapping[str, Any]) -> None:
    """Refuse a file that is given as two tables; as items too only where the column of items' ids is given.

    Raises:
        InputError: Naming the option.
    """
    for table in ("items", "users"):
        path, option = paths.get(table), f"{table}_id_column"
        if path is not None and option not in columns and _same_file(path, paths["interactions"]):
            raise InputError(
                f"--{table}: {shown(path)} is the file of the interactions: name a file with one row for each of the"
                f" {table} or leave it out, or say --{option.replace('_', '-')} COLUMN if it describes {table} too"
            )


def _same_file(one: Path, other: Path) -> bool:
    """Return whether two paths are one file; what cannot be looked at is none, and whoever reads it says why."""
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False


def _line(path: Path, form: FileForm, read: TableRead, row: int) -> str:
    """Return the line that a row of a table begins in."""
    return f"line {lines_of_rows(path, form, [row], read.bad)[0]}"


def _left_out(
    paths: Mapping[str, Path],
    forms: Mapping[str, Sniffed],
    reads: Mapping[str, TableRead],
    found: Understood,
    skip_bad: int,
) -> list[str]:
    """Return each row that is left out of the files, one line each.

    Raises:
        InputError: If a file has more bad rows than it may have.
    """
    notes: list[str] = []
    for table, path in paths.items():
        read = without_bad_rows(path, forms[table].form, reads[table], table, found.columns, skip_bad)
        notes += [f"{path.name}, {bad.place}: {bad.reason}" for bad in read.bad]
    return notes


def _unsure(form: Sniffed) -> list[str]:
    """Return what is unsure of how a file is written."""
    return [f"{field}: {form.evidence.get(field, '')}" for field in form.unsure]


def _divided(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]], int, str | None]:
    """Divide what the user said into columns, forms of files by table (all of them under an empty name), and the rest.

    Raises:
        InputError: For an option that does not exist.
    """
    columns: dict[str, Any] = {}
    forms: dict[str, dict[str, Any]] = {}
    for key, value in options.items():
        table, _, field = key.rpartition(".")
        if key in COLUMN_OPTIONS:
            columns[key] = value
        elif field in _FORM and table in ("", *TABLES):
            forms.setdefault(table, {})[field] = value
        elif key not in ("name", "skip_bad"):
            raise InputError(f"unknown option {key!r}: {nearest(key, (*COLUMN_OPTIONS, *_FORM, 'name', 'skip_bad'))}")
    return columns, forms, int(options.get("skip_bad", 0)), options.get("name")


def _common(paths: Mapping[str, Path]) -> tuple[str, dict[str, str]]:
    """Return the folder that all files lie in, and their names in it."""
    whole = {table: Path(os.path.abspath(path)) for table, path in paths.items()}  # noqa: PTH100 - links stay as they are
    common = os.path.commonpath([path.parent for path in whole.values()])
    names = {table: path.relative_to(common).as_posix() for table, path in whole.items()}
    relative = all(not path.is_absolute() for path in paths.values())
    return (os.path.relpath(common) if relative else common), names


def _text(
    name: str, folder: str, names: Mapping[str, str], found: Understood, forms: Mapping[str, Sniffed], skip_bad: int
) -> str:
    """Write the recipe: what was guessed as a table of comments on top, then the fields with their evidence."""
    options, comments = _options(names, found, forms, skip_bad)
    data = {"reader": "files", "path": folder, "options": options}
    name = (
        "".join(letter if letter.isalnum() or letter in " .-_" else "-" for letter in name)[:80].strip(" .-") or "mine"
    )
    described = f"Own data: {', '.join(names.values())}"
    values, more = recipe_values(name, described, data, found)
    more["data.path"] = "the folder of the files, relative to where llmrec is called; --data DIR when they have moved"
    more |= {f"data.options.{field}": comment for field, comment in comments.items()}
    return "\n".join([*_head(found, forms, names), commented_yaml(values, more)])


def _options(
    names: Mapping[str, str], found: Understood, forms: Mapping[str, Sniffed], skip_bad: int
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the reader's options as plain values, and the evidence by field."""
    values: dict[str, Any] = {"feedback": found.columns.feedback}
    comments: dict[str, str] = {"feedback": _marked(found.label.guess)}
    if found.columns.scale is not None:
        values["scale"] = list(found.columns.scale)
        comments["scale"] = "the lowest and the highest rating"
    for field in ("repeats", "ids_as_titles"):
        if getattr(found.columns, field):
            values[field] = True
    if skip_bad:
        values["skip_bad"] = skip_bad
    for table, form in forms.items():
        block: dict[str, Any] = {"file": names[table]}
        for field, value in form.form.model_dump(mode="json").items():
            if value == FileForm.model_fields[field].get_default() and field not in form.unsure:
                continue
            block[field] = value
            evidence = form.evidence.get(field, "")
            comments[f"{table}.{field}"] = f"unsure: {evidence}" if field in form.unsure else evidence
        columns = getattr(found.columns, table)
        block |= {
            field: value
            for field, value in columns.model_dump(mode="json").items()
            if value not in (None, [], {}, False)
        }
        if table == "interactions" and columns.time is None:
            block.pop("time_form", None)
        values[table] = block
        comments |= _evidence(table, [guess for guess in found.guesses if guess.table == table])
    return values, comments


def _evidence(table: str, guesses: list[Guess]) -> dict[str, str]:
    """Return the evidence of a table's guesses by the fields that hold them."""
    fields = {"rating": "label", "click": "label", "count": "count"}
    kinds = {"text": "texts", "number": "numbers", "category": "categories", "year": "years"}
    comments = {}
    for guess in guesses:
        kind, _, name = guess.role.partition(" ")
        field = f"{kinds[kind]}.{name}" if kind in kinds else fields.get(guess.role, guess.role)
        comments[f"{table}.{field}"] = _marked(guess)
    return comments


def _marked(guess: Guess) -> str:
    return f"unsure: {guess.said}" if guess.unsure else guess.said


def _head(found: Understood, forms: Mapping[str, Sniffed], names: Mapping[str, str]) -> list[str]:
    """Return the comments on top: how to go on, what is unsure, and a table of all columns."""
    lines = [
        *comment_lines(
            "A recipe made by llmrec init custom. Each guess stands beside its evidence; change what is wrong, then:"
        ),
        "#   llmrec train THIS_FILE",
    ]
    unsure = [f"{table} file, {line}" for table, sniff in forms.items() for line in _unsure(sniff)]
    lines += [line for one in (*unsure, *found.unsure) for line in comment_lines(f"unsure: {one}")]
    lines.append("#")
    rows = [
        (guess.table, quoted(guess.column, 40), guess.role, guess.said)
        for guess in found.guesses
        if guess.column is not None
    ]
    widths = [max((len(row[at]) for row in rows), default=0) for at in range(3)]
    for row in rows:
        cells = "  ".join(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True))
        lines.append(f"# {for_terminal(f'{cells}  {row[3]}')[:_WIDEST]}".rstrip())
    return [*lines, ""]
