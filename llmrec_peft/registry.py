"""One door for every plugin: adapters, heads, signals, recipes and backbones, found by entry points."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from llmrec_peft.errors import InputError, nearest

KINDS: dict[str, str] = {
    "adapters": "adapter method",
    "heads": "task head",
    "signals": "signal",
    "recipes": "recipe",
    "backbones": "backbone alias",
}
"""Plugin kinds (the part of an entry-point group after ``llmrec_peft.``) and what one of them is called."""


@dataclass(frozen=True)
class Plugin:
    """One registered name; nothing of it is imported before `load`."""

    kind: str
    name: str
    entry_point: EntryPoint

    @property
    def package(self) -> str:
        """Distribution that registered the plugin, as ``name version``."""
        dist = self.entry_point.dist
        return f"{dist.name} {dist.version}" if dist else "unknown"

    def load(self) -> Any:
        """Import the plugin.

        Raises:
            InputError: When its package is broken; the message names the plugin and the cause.
        """
        try:
            return self.entry_point.load()
        except (Exception, SystemExit) as error:
            cause = f"{type(error).__name__}: {error}".splitlines()[0]
            raise InputError(
                f"{KINDS[self.kind]} {self.name!r} of package {self.package} cannot be imported ({cause})"
            ) from error


@functools.cache
def plugins(kind: str) -> dict[str, Plugin]:
    """Every registered plugin of a kind by name.

    Two packages that register the same name are refused when that name is asked for (see `get`), since
    silently preferring one of them would run code that the user did not mean.

    Raises:
        InputError: For an unknown kind.
    """
    if kind not in KINDS:
        raise InputError(f"unknown kind {kind!r}: {nearest(kind, KINDS)}")
    found: dict[str, Plugin] = {}
    for entry_point in sorted(entry_points(group=f"llmrec_peft.{kind}"), key=lambda ep: (ep.name, ep.value)):
        known = found.get(entry_point.name)
        if known and known.entry_point.value != entry_point.value:
            _CLASHES.add((kind, entry_point.name, known.package, Plugin(kind, entry_point.name, entry_point).package))
        found[entry_point.name] = Plugin(kind, entry_point.name, entry_point)
    return found


_CLASHES: set[tuple[str, str, str, str]] = set()


def get(kind: str, name: str) -> Any:
    """Load one plugin by kind and name.

    Raises:
        InputError: For an unknown name (with the nearest known one), a name that two packages claim, or
            a plugin that cannot be imported.
    """
    known = plugins(kind)
    if name not in known:
        raise InputError(f"unknown {KINDS[kind]} {name!r}: {nearest(name, known)}")
    for clash_kind, clash_name, one, other in _CLASHES:
        if (clash_kind, clash_name) == (kind, name):
            raise InputError(f"{KINDS[kind]} {name!r} is registered by both {one} and {other}: uninstall one of them")
    return known[name].load()
