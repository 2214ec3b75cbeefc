"""Without paths: a run's recipe, figures and base as others may read them, without folders of this machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

from llmrec_peft.artifact.manifest import Manifest
from llmrec_peft.recipe import Recipe

_HERE = ("/", "~", "./", "../", ".\\", "\\\\")
"""What a path of a machine begins with."""
DEMO = "demo"
"""What stands for made-up data in place of a folder."""


def local_paths(recipe: Recipe, manifest: Manifest) -> tuple[str, ...]:
    """Return the paths of this machine that a run names: of its data, and of a base without a commit."""
    named = [recipe.data.path, recipe.data.graph]
    if manifest.base.get("revision") is None:
        named += [recipe.backbone.name, manifest.base.get("name")]
    known = {path for path in named if path and path != DEMO}
    return tuple(sorted(known, key=len, reverse=True))  # a folder after the folders inside it


def published_recipe(recipe: Recipe, manifest: Manifest) -> Recipe:
    """Return a recipe without paths: no data folder, and of a base that is a folder its last name."""
    values: dict[str, Any] = recipe.plain()
    data = values["data"]
    for field in ("path", "graph"):
        data[field] = data[field] if data[field] == DEMO else None
    if data.get("options") is not None:
        data["options"] = plain(data["options"], local_paths(recipe, manifest))
    if manifest.base.get("revision") is None:
        values["backbone"]["name"] = last_name(values["backbone"]["name"])
    return Recipe.from_plain(values)


def published_base(manifest: Manifest) -> dict[str, str | None]:
    """Return the identity of a run's base; one without a commit is a folder here, of which the last name stays."""
    name = manifest.base.get("name")
    if name is None or manifest.base.get("revision") is not None:
        return dict(manifest.base)
    return {**manifest.base, "name": last_name(name)}


def plain(values: Any, paths: Iterable[str]) -> Any:
    """Return plain values in whose texts paths are replaced by their last names.

    >>> plain({"notes": ["read /home/ann/films"], "file": "~/x/y.csv"}, ["/home/ann/films"])
    {'notes': ['read films'], 'file': 'y.csv'}

    Args:
        values: Plain values, as of JSON.
        paths: Paths that are replaced wherever they stand; a text that is a path itself is one too.
    """
    known = tuple(paths)
    if isinstance(values, Mapping):
        return {str(name): plain(value, known) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [plain(value, known) for value in values]
    if not isinstance(values, str):
        return values
    if values.startswith(_HERE) and "\n" not in values:
        return last_name(values)
    for path in known:
        if Path(path).is_absolute() or "/" in path:  # a bare word, such as a folder's name, is no secret
            values = values.replace(path, last_name(path))
    return values


def last_name(path: str) -> str:
    """Return the last name of a path.

    >>> last_name("/home/ann/models/tiny"), last_name("tiny")
    ('tiny', 'tiny')
    """
    return PurePath(path.replace("\\", "/")).name or "folder"
