"""Tenants of one job: whose data lie where, and which of them are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING

from llmrec_peft.data.division import divided
from llmrec_peft.data.soundness import sound
from llmrec_peft.data.tenant_names import is_plain
from llmrec_peft.errors import InputError, nearest
from llmrec_peft.experiment.prepare import read_source
from llmrec_peft.printable import quoted, shown
from llmrec_peft.recipe import Recipe

if TYPE_CHECKING:
    from llmrec_peft.data.dataset import RecDataset
    from llmrec_peft.experiment.starting import AskedStart


@dataclass(frozen=True)
class Tenant:
    """One tenant of a job.

    Attributes:
        name: Name of its run folder.
        recipe: What is trained, with the place of its data.
        value: The value of the column that it was divided by; None where it has a folder of its own.
        dataset: Its data, if they are in memory; else the recipe's reader reads them.
        start_from: Finished runs with whose adapters its own begins; None for a fresh one.
    """

    name: str
    recipe: Recipe
    value: str | None = None
    dataset: RecDataset | None = None
    start_from: AskedStart | None = None


def tenants_of_folders(recipe: Recipe, patterns: Sequence[str]) -> list[Tenant]:
    """Return a tenant for each folder, in the order of names.

    Args:
        recipe: What is trained.
        patterns: Folders, or patterns of folders such as ``data/*/``.

    Raises:
        InputError: Where no folder is found, two have one name, or a name is no plain one.
    """
    found: dict[str, Path] = {}
    for pattern in patterns:
        there = sorted(glob(pattern))  # noqa: PTH207 - a pattern may begin at the root
        folders = [Path(one) for one in there if Path(one).is_dir()]
        if not folders:
            raise InputError(f"--data {shown(pattern)}: no folder is there; each folder is the data of one tenant")
        for folder in folders:
            name = folder.resolve().name
            if not is_plain(name):
                raise InputError(
                    f"--data {shown(folder)}: a tenant is named by its folder, and {quoted(name)} is no plain name:"
                    " ASCII letters, digits, dots, hyphens and underscores, 64 at most"
                )
            if any(name.casefold() == other.casefold() for other in found):
                raise InputError(f"--data: two folders are called {name}; tenants are named by their folders")
            found[name] = folder
    return [Tenant(name, recipe.changed({"data.path": str(found[name])})) for name in sorted(found)]


def tenants_of_column(recipe: Recipe, column: str) -> tuple[list[Tenant], list[str]]:
    """Read the recipe's data and return a tenant for each value of a column, and notes on the division.

    Raises:
        InputError: If the data are not what they should be, or there is no such column.
    """
    division = divided(sound(read_source(recipe.data)), column)
    notes = []
    if division.without:
        notes.append(f"{division.without:,} rows of {division.table} have no {division.column}: they are left out")
    tenants = [Tenant(name, recipe, division.values[name], part) for name, part in division.parts.items()]
    return tenants, notes


def chosen(tenants: Sequence[Tenant], only: Sequence[str]) -> list[Tenant]:
    """Return the tenants that are asked for by name or by value; all if none is.

    Raises:
        InputError: For a name that no tenant has.
    """
    if not only:
        return list(tenants)
    asked = set(only)
    found = [one for one in tenants if one.name in asked or one.value in asked]
    missing = asked - {one.name for one in found} - {str(one.value) for one in found}
    if missing:
        name = sorted(missing)[0]
        raise InputError(f"--only {quoted(name)}: no such tenant; {nearest(name, [one.name for one in tenants][:50])}")
    return found
