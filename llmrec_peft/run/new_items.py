"""New items: rows that training did not know, brought to the types of the items table so that their texts are alike."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import jinja2
from jinja2 import meta, nodes

from llmrec_peft.artifact.tables import ItemTable
from llmrec_peft.data.column_types import ColumnType, as_plain, is_missing
from llmrec_peft.data.views import ViewTemplate
from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted
from llmrec_peft.recipe import Recipe
from llmrec_peft.run.ids import text_id

_PARSER = jinja2.Environment(autoescape=False)  # noqa: S701 - reads which columns a template names, renders nothing


@dataclass(frozen=True)
class NewItems:
    """What a run reads of a new item.

    Attributes:
        types: Types of the columns that its texts take, in the order of the items table; None for a run that does not
            say them.
    """

    types: Mapping[str, ColumnType] | None

    @classmethod
    def of(cls, recipe: Recipe, items: ItemTable) -> Self:
        """Find out which columns of the items table the texts of an item take.

        Args:
            recipe: Resolved recipe of the run.
            items: Items of the run.
        """
        if items.types is None:
            return cls(None)
        read = set(meta.find_undeclared_variables(_parsed(recipe.views.item.template)))
        if recipe.views.prompt is not None and recipe.reads.prompt:
            of_prompt = _columns_of_item(recipe.views.prompt.template)
            read |= set(items.types) if of_prompt is None else of_prompt
        return cls({name: kind for name, kind in items.types.items() if name in read})

    def absent(self, columns: Container[str]) -> list[str]:
        """Return the columns that the texts take and that are not among some given ones."""
        return [name for name in self._types() if name not in columns]

    def brought(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``item_id``, the title if there is one, and the columns that the texts take, as training had them.

        Other columns are left out: training's template did not know them either.

        Args:
            row: ``item_id`` and the columns of one item.

        Raises:
            InputError: For an id that is no text, a missing column, or a value that cannot be brought to the column's
                type.
        """
        item = row.get("item_id")
        if item is None or (isinstance(item, str) and not item.strip()):
            raise InputError("a new item has no item_id")
        item = text_id(item, "item")
        if not _is_writable(item):
            raise InputError(f"item {item!r:.60}: an id is a text in UTF-8 without zero bytes")
        where = f"item {item!r:.60}"
        types = self._types()
        given: dict[str, Any] = {"item_id": item}
        for name, kind in types.items():
            if name not in row:
                raise InputError(
                    f"{where}: no column {name!r:.60}, which its text takes (the items table has {kind} there; leave it"
                    " empty where nothing is known)"
                )
            try:
                given[name] = kind.bring(row[name])
            except ValueError as error:
                raise InputError(f"{where}, column {name:.60}: {error}; the items table has {kind} there") from None
        title = as_plain(row.get("title"))
        if "title" not in given and isinstance(title, str) and not is_missing(title):
            if not _is_writable(title):
                raise InputError(f"{where}, column title: {title!r:.60} is no UTF-8 text")
            given["title"] = str(title)
        return given

    def text_columns(self, brought: Mapping[str, Any]) -> dict[str, Any]:
        """Return the columns of a brought row that its texts take; none if all of them are empty."""
        given = {name: brought[name] for name in self._types()}
        return {} if all(value in (None, "", []) for value in given.values()) else given

    def all_brought(self, rows: Iterable[Mapping[str, Any]], known: Container[str]) -> list[dict[str, Any]]:
        """Bring several rows.

        Args:
            rows: As `brought` takes them.
            known: Ids that the run or its catalogue has.

        Raises:
            InputError: As `brought` raises it, for an item without text, and for an id that is known or comes twice.
        """
        given, ids = [], set()
        for row in rows:
            if not hasattr(row, "keys"):
                raise InputError(f"a new item is a mapping of its columns, not {quoted(row)}")
            brought = self.brought(dict(row))
            item = brought["item_id"]
            if self.types and not self.text_columns(brought):
                raise InputError(f"item {item!r:.60}: the columns that its text takes are all empty")
            if item in known or item in ids:
                raise InputError(f"item {item!r:.60} is known already")
            ids.add(item)
            given.append(brought)
        return given

    def _types(self) -> Mapping[str, ColumnType]:
        if self.types is None:
            raise InputError(
                "this run does not say the types of its items' columns, so that no text of a new item can be made as"
                " training made it: train it again"
            )
        return self.types


def _is_writable(text: str) -> bool:
    """Return whether a text can be stored: no half of a character, and no zero byte, at which other programs end."""
    try:
        return b"\0" not in text.encode("utf-8")
    except UnicodeEncodeError:
        return False


def _columns_of_item(template: str) -> set[str] | None:
    """Return the columns that a prompt's template takes of `item`; None if it can take any."""
    parsed = _parsed(template)
    names: list[Any] = [each.attr for each in parsed.find_all(nodes.Getattr) if _is_item(each.node)]
    names += [getattr(each.arg, "value", None) for each in parsed.find_all(nodes.Getitem) if _is_item(each.node)]
    uses = sum(_is_item(each) and each.ctx == "load" for each in parsed.find_all(nodes.Name))
    taken = {name for name in names if isinstance(name, str)}
    return taken if uses == len(names) and all(isinstance(name, str) for name in names) else None


def _parsed(template: str) -> nodes.Template:
    """Parse a template that `ViewTemplate` takes."""
    ViewTemplate(template)
    return _PARSER.parse(template)


def _is_item(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Name) and node.name == "item"
