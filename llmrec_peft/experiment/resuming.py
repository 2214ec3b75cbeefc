"""Resuming: what a training was begun with, and in what it differs from what is asked for now."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmrec_peft.artifact.manifest import NAME, limit_of, read_manifest, require_files
from llmrec_peft.artifact.workspace import RESUMABLE, Workspace
from llmrec_peft.errors import InputError
from llmrec_peft.printable import shown
from llmrec_peft.recipe import Recipe
from llmrec_peft.recipe.yaml_file import read_yaml
from llmrec_peft.regular_files import is_file
from llmrec_peft.strict_json import read_object

PUBLISHED = "published.json"
"""File of a hidden folder that names the run which it has become, from the moment before it does."""
METRICS = "metrics.json"
_MOST_BYTES = 8 << 20
"""Bytes of a file of a hidden folder, at most."""
_MOST_FIELDS = 5
"""Differing fields that a message names."""
_LONGEST_VALUE = 60


@dataclass(frozen=True)
class Begun:
    """What ``identity.json`` of a training says.

    Attributes:
        identity: Digest of everything that has to stay the same.
        started: When it began, seconds since 1970.
        process: Number of the process that began it.
        asked: The recipe as it was given, plain; None where an earlier version began it.
        settings: The recipe as the data lets it be, plain.
        data: Digest of the data.
        base: Identity of the base model.
        version: Version of this package.
        parent: Digest of the run that it goes on from; None where it begins anew.
    """

    identity: str
    started: float
    process: int
    asked: Mapping[str, Any] | None
    settings: Mapping[str, Any] | None
    data: str | None
    base: Mapping[str, Any] | None
    version: str | None
    parent: str | None = None

    @classmethod
    def read(cls, folder: Path) -> Begun:
        """Read it from a hidden folder.

        Raises:
            InputError: If it is missing or broken.
        """
        path = folder / RESUMABLE
        try:
            values = read_object(path, _MOST_BYTES)
        except InputError as error:
            raise InputError(f"{error}: start over with --overwrite") from None
        try:
            asked, settings, base = (_mapping(values.get(name)) for name in ("asked", "settings", "base"))
            data, version, parent = (
                None if values.get(name) is None else str(values[name]) for name in ("data", "version", "parent")
            )
            identity, started, process = str(values["identity"]), float(values["started"]), int(values["process"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            why = f"{error} is missing" if isinstance(error, KeyError) else error
            raise InputError(f"{shown(path)} is broken ({why}): start over with --overwrite") from None
        return cls(identity, started, process, asked, settings, data, base, version, parent)


def stored_recipe(run: Path) -> Recipe:
    """Return the recipe of an interrupted or finished training.

    It is validated as if it came from a stranger; what runs code of its own has to be given again.

    Args:
        run: Run folder, whether it is there yet or not.

    Raises:
        InputError: If there is none, or it is broken.
    """
    workspace = Workspace(run, "training")
    if workspace.resumable:
        where = shown(workspace.folder / RESUMABLE)
        asked = Begun.read(workspace.folder).asked
        if asked is None:
            raise InputError(f"{where} holds no recipe: give the recipe and its settings again, with --resume")
        recipe = Recipe.from_plain(dict(asked), where)
    elif is_file(run / NAME):
        where = shown(run / "recipe.yaml")
        recipe = Recipe.from_plain(read_yaml(run / "recipe.yaml"), where)
    else:
        raise InputError(f"{shown(run)}: there is no interrupted run to resume: give a recipe to begin one")
    if recipe.backbone.trust_remote_code:
        raise InputError(f"{where}: backbone.trust_remote_code is on: give the recipe again, with --resume")
    return recipe


def finished_metrics(run: Path, recipe: Recipe, resolved: Callable[[Recipe], Recipe]) -> dict[str, Any]:
    """Return the metrics of a finished run that was to be resumed.

    Args:
        run: Run folder.
        recipe: Recipe that is asked for.
        resolved: Returns a recipe as the data lets it be; called where the two seem to differ.

    Raises:
        InputError: If the run is broken or changed, or was trained with other settings.
    """
    manifest = read_manifest(run, verify=False)
    metrics = read_object(run / METRICS, limit_of(METRICS))
    path = run / "recipe.yaml"
    stored = Recipe.from_plain(read_yaml(path), shown(path)).plain()
    require_files(run, manifest, (METRICS, path.name))  # figures that somebody edited are not the run's
    stored.pop("served", None)  # what that training chose is no setting
    recipe = recipe.unserved()
    if _settings(recipe) != stored:
        try:
            asked = _settings(resolved(recipe))
        except InputError:  # the data is gone: what can be compared is what was typed
            asked = _settings(recipe)
        said = list(differing(asked, stored))
        if said:
            raise InputError(
                f"{shown(run)} is finished, with other settings: {_few(said)}:"
                " --overwrite trains it anew, --out names another folder"
            )
    return metrics


def _settings(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as plain values, without what a training chose."""
    return {name: value for name, value in recipe.plain().items() if name != "served"}


def is_left_of(workspace: Workspace) -> bool:
    """Whether a hidden folder is only what a kill left after its run had been published."""
    try:
        published = read_object(workspace.folder / PUBLISHED, _MOST_BYTES).get("digest")
        return bool(published == read_manifest(workspace.target, verify=False).digest)
    except InputError:
        return False


def changes(
    begun: Begun,
    settings: Mapping[str, Any],
    data: str,
    base: Mapping[str, Any],
    version: str,
    parent: str | None = None,
) -> list[str]:
    """Describe in what an interrupted training differs from what is asked for, one entry a field.

    Args:
        begun: What it was begun with.
        settings: Recipe as the data lets it be, plain.
        data: Digest of the data.
        base: Identity of the base model.
        version: Version of this package.
        parent: Digest of the run that is gone on from, if any.
    """
    said = [] if begun.settings is None else list(differing(settings, begun.settings))
    if begun.data is not None and begun.data != data:
        said.append("the data has changed since")
    if begun.base is not None:
        said += [f"the base model's {line}" for line in differing(base, begun.base)]
    if begun.version is not None and begun.version != version:
        said.append(f"the version of llmrec-peft is {version}, was {shown(begun.version)}")
    if begun.parent != parent:
        said.append("the run that it goes on from is another")
    return said or ["the recipe, the data, the base model or the version is another"]


class BegunOtherwiseError(InputError):
    """An interrupted training was begun with other settings, data or base; starting over is possible."""


def refusal_to_resume(run: Path, said: list[str]) -> BegunOtherwiseError:
    """Make the error that names in what an interrupted training differs."""
    return BegunOtherwiseError(
        f"the interrupted run of {shown(run)} was begun otherwise: {_few(said)}:"
        " resume it with the same settings (--resume without a recipe takes them), or start over with --overwrite"
    )


def differing(asked: Mapping[str, Any], stored: Mapping[str, Any]) -> Iterator[str]:
    """Yield each dotted field whose values differ, with both.

    >>> list(differing({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2}))
    ['a.b is 1, was 3']
    """
    first, second = (dict(_flat(values)) for values in (asked, stored))
    for field in sorted({*first, *second}):
        if first.get(field) != second.get(field):
            yield f"{shown(field)} is {_value(first.get(field))}, was {_value(second.get(field))}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "…"


def _few(said: list[str]) -> str:
    more = f"; and {len(said) - _MOST_FIELDS} more" if len(said) > _MOST_FIELDS else ""
    return "; ".join(said[:_MOST_FIELDS]) + more


def _mapping(value: Any) -> Mapping[str, Any] | None:
    if value is not None and not isinstance(value, dict):
        raise TypeError(f"{type(value).__name__} instead of an object")
    return value
