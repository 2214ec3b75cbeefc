"""One entrance for all plugins (adapters, heads, signals, readers, recipes and backbones), by entry points."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from llmrec_peft.errors import InputError, nearest

KINDS: dict[str, str] = {
    "adapters": "adapter method",
    "heads": "task head",
    "signals": "signal",
    "readers": "reader",
    "recipes": "recipe",
    "backbones": "backbone alias",
}
"""Plugin kinds (the part of an entry-point group after ``llmrec_peft.``) and what one plugin of each is called."""
RECIPE_FILE = "recipe.yaml"
"""File name of the recipe that has the name of the entry point; every other file is a recipe of its own name."""
DEMO_ENDING = "demo.yaml"
"""``demo.yaml`` and ``NAME.demo.yaml`` are no recipes: their settings replace a recipe's for the made-up data."""


@dataclass(frozen=True)
class Plugin:
    """One registered name; nothing is imported before `load`.

    Attributes:
        kind: One of `KINDS`.
        name: What users type.
        entry_point: The line by which a package registered it.
        file: The YAML file of a recipe in a registered folder.
        claimed_by: The packages that register the name, if several register different plugins.
    """

    kind: str
    name: str
    entry_point: EntryPoint
    file: Path | None = None
    claimed_by: tuple[str, ...] = ()

    @property
    def package(self) -> str:
        """Distribution that registered the plugin, as ``name version``."""
        dist = self.entry_point.dist
        return f"{dist.name} {dist.version}" if dist else "unknown"

    def load(self) -> Any:
        """Import the plugin; for a recipe, return the path of its file.

        Raises:
            InputError: If its package is broken; the message names the plugin and the cause.
        """
        if self.file is not None:
            return self.file
        try:
            if self.kind != "recipes":
                return self.entry_point.load()
            if self.entry_point.attr:
                return self.entry_point.load().folder() / RECIPE_FILE
            raise FileNotFoundError(f"no folder {self.entry_point.value} that holds recipes")
        except (Exception, SystemExit) as error:
            cause = f"{type(error).__name__}: {error}".splitlines()[0]
            raise InputError(
                f"{KINDS[self.kind]} {self.name!r} of package {self.package} cannot be imported ({cause})"
            ) from error


@functools.cache
def plugins(kind: str) -> dict[str, Plugin]:
    """Return every registered plugin of a kind by name.

    If two packages register the same name, it is refused when that name is used (see `get`), since silently
    preferring one of them would run code that the user did not mean.

    Raises:
        InputError: For an unknown kind.
    """
    if kind not in KINDS:
        raise InputError(f"unknown kind {kind!r}: {nearest(kind, KINDS)}")
    known: dict[str, Plugin] = {}
    for plugin in _registered(kind):
        known[plugin.name] = _beside(known.get(plugin.name), plugin)
    return dict(sorted(known.items()))


def get(kind: str, name: str) -> Any:
    """Load one plugin by kind and name; for a recipe, return the path of its YAML file.

    Raises:
        InputError: For an unknown name (with the nearest known one), a name that two packages claim, or
            a plugin that cannot be imported.
    """
    known = plugins(kind)
    if name not in known:
        raise InputError(f"unknown {KINDS[kind]} {name!r}: {meant(name, known)}")
    claimed_by = known[name].claimed_by
    if claimed_by:
        raise InputError(
            f"{KINDS[kind]} {name!r} is registered by both {' and '.join(claimed_by)}: uninstall one of them"
        )
    return known[name].load()


def meant(name: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant: what a plugin is called now, or else the nearest name.

    A package tells that one of its plugins was renamed by a line ``old = "new"`` in the entry-point group
    ``llmrec_peft.renamed``.
    """
    names = sorted(known)
    renamed = {entry_point.name: entry_point.value for entry_point in _entry_points("renamed")}
    if renamed.get(name) in names:
        return f"it is called {renamed[name]!r} now"
    return nearest(name, names)


def _beside(other: Plugin | None, plugin: Plugin) -> Plugin:
    """Return a plugin, with all packages that claim its name if another plugin claimed it before."""
    if other is None or (other.entry_point.value, other.file) == (plugin.entry_point.value, plugin.file):
        return plugin
    return replace(plugin, claimed_by=(*(other.claimed_by or (other.package,)), plugin.package))


def _registered(kind: str) -> Iterator[Plugin]:
    """Yield the plugins of a kind in the order of their names; a name that two packages claim comes twice."""
    if kind == "recipes":
        for entry_point in _entry_points("recipes"):
            yield from _recipes(entry_point)
        return
    for entry_point in _entry_points(kind):
        yield Plugin(kind, entry_point.name, entry_point)
    if kind == "readers":  # plugins from before readers had a group of their own register one class for both
        for entry_point in _entry_points("recipes"):
            if entry_point.attr:
                yield Plugin(kind, entry_point.name, entry_point)


def _recipes(entry_point: EntryPoint) -> Iterator[Plugin]:
    """Yield the recipes of a registered folder, one per YAML file; without any, one whose `load` says so."""
    folder = None if entry_point.attr else _folder(entry_point.module)
    files = [] if folder is None else sorted(folder.glob("*.yaml"))
    recipes = [file for file in files if file.name != DEMO_ENDING and not file.name.endswith(f".{DEMO_ENDING}")]
    if not recipes:
        yield Plugin("recipes", entry_point.name, entry_point)
    for file in recipes:
        yield Plugin("recipes", entry_point.name if file.name == RECIPE_FILE else file.stem, entry_point, file)


def _folder(package: str) -> Path | None:
    """Find a package's folder, importing no more than the packages around it; None if there is none."""
    try:
        spec = importlib.util.find_spec(package)
    except (Exception, SystemExit):  # noqa: BLE001 - whatever a stranger's package raises takes no other down
        return None
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    return Path(places[0]) if places else None


def _entry_points(kind: str) -> list[EntryPoint]:
    return sorted(entry_points(group=f"llmrec_peft.{kind}"), key=lambda one: (one.name, one.value))
