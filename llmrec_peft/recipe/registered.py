"""Registered recipes: what `llmrec list` says of each, which data it reads, and its settings for made-up data."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llmrec_peft import registry
from llmrec_peft.errors import InputError
from llmrec_peft.recipe.yaml_file import read_yaml


@dataclass(frozen=True)
class RegisteredRecipe:
    """One recipe that a package registers, read from its YAML file but not validated.

    Attributes:
        name: What users type.
        file: The YAML file.
        reader: The reader that it names.
        summary: Its description, or its name where it has none.
        category: `benchmark` for a folder inside a package named ``benchmarks``: somebody's published splits and
            figures to compare with; else `domain`.
    """

    name: str
    file: Path
    reader: str
    summary: str
    category: Literal["domain", "benchmark"]


def registered_recipe(name: str) -> RegisteredRecipe:
    """Read what a registered recipe says of itself.

    Raises:
        InputError: When the name is unknown, the file is no recipe, or its reader cannot be imported.
    """
    file: Path = registry.get("recipes", name)
    values = read_yaml(file)
    data = values.get("data") if isinstance(values, dict) else None
    reader = data.get("reader") if isinstance(data, dict) else None
    if not isinstance(reader, str):
        raise InputError(f"{file}: no field data.reader, which every recipe has")
    registry.get("readers", reader)
    parts = registry.plugins("recipes")[name].entry_point.module.split(".")
    category: Literal["domain", "benchmark"] = "benchmark" if "benchmarks" in parts[:-1] else "domain"
    return RegisteredRecipe(name, file, reader, str(values.get("description") or name), category)


def reader_name(name: str) -> str:
    """Return the name of the reader that a registered recipe uses, or of the reader that is named itself.

    Raises:
        InputError: When no recipe and no reader has this name.
    """
    recipes, readers = registry.plugins("recipes"), registry.plugins("readers")
    if name in recipes:
        return registered_recipe(name).reader
    if name in readers:
        return name
    raise InputError(f"unknown recipe or reader {name!r}: {registry.meant(name, {*recipes, *readers})}")


def demo_settings(recipe: Path, reader: str, registered: bool) -> Path | None:
    """Find the settings that are laid over a recipe when it is trained on made-up data.

    The first that exists of: ``NAME.demo.yaml`` beside ``NAME.yaml``; ``demo.yaml`` beside a registered recipe;
    ``demo.yaml`` beside the reader, which makes the data up.

    Args:
        recipe: The recipe's file.
        reader: Name of its reader.
        registered: Whether the recipe was asked for by its registered name.

    Raises:
        InputError: When there is no such reader, or it cannot be imported.
    """
    source = registry.get("readers", reader)
    folder = source.folder() if hasattr(source, "folder") else Path(inspect.getfile(source)).parent
    places = [recipe.with_name(f"{recipe.stem}.{registry.DEMO_ENDING}")]
    if registered:
        places.append(recipe.with_name(registry.DEMO_ENDING))
    places.append(folder / registry.DEMO_ENDING)
    return next((place for place in places if place.is_file()), None)
