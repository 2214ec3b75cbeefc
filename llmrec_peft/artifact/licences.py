"""Licences of what a run is made from: base model, training data and code, and which of them do not go together."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmrec_peft import registry
from llmrec_peft.recipe import DEMO, Recipe

if TYPE_CHECKING:
    from llmrec_peft.backbone.alias import BackboneAlias

CODE = "apache-2.0"
"""Licence of this package."""
UNKNOWN = "unknown"
OWN_DATA = ("files", "frames")
"""Readers of a user's own data, of which no licence is recorded."""
_FREE = frozenset(
    ("apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "unlicense", "isc")
)
"""Identifiers of the Hub under which commercial use and passing on are allowed, with attribution at most."""
_RESEARCH, _NO_COMMERCE, _NOT_PASSED_ON = "research use", "no commercial use", "not to be passed on"
_WORDS = (
    (re.compile(r"research", re.IGNORECASE), _RESEARCH),
    (re.compile(r"non-?commercial|no commercial use", re.IGNORECASE), _NO_COMMERCE),
    (re.compile(r"no redistribution|may not be redistributed", re.IGNORECASE), _NOT_PASSED_ON),
)
"""Words of an owner's terms, and the limit that they name."""
_FREE_WORDS = re.compile(r"\b(?:CC0|CC[ -]BY[ -]4\.0|MIT licen[cs]e|Apache-2\.0|public domain)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Licence:
    """The licence of one part.

    Attributes:
        part: What it is about.
        terms: Identifier of the Hub, or the owner's terms in a few lines; ``unknown`` where nothing is recorded.
        source: Where this is said.
        limits: What the terms do not allow, as far as their words say it.
        free: Whether they are known to allow any use and passing on, with attribution at most.
    """

    part: str
    terms: str
    source: str
    limits: tuple[str, ...] = ()
    free: bool = False


@dataclass(frozen=True)
class Licences:
    """Licences of the parts of a run."""

    base: Licence
    data: Licence
    code: Licence

    @property
    def parts(self) -> tuple[Licence, Licence, Licence]:
        """All of them, in the order of a table."""
        return self.base, self.data, self.code

    @property
    def identifier(self) -> str:
        """Identifier of the Hub for the whole: ``other`` where a part limits it, ``unknown`` where one is not known."""
        if any(one.limits for one in self.parts):
            return "other"
        return CODE if all(one.free for one in self.parts) else UNKNOWN

    def notes(self, items: bool) -> list[str]:
        """Return what does not go together and what is not known, one sentence each.

        Args:
            items: Whether titles and texts of items are passed on with the run.
        """
        said = []
        if self.base.terms == UNKNOWN:
            said.append(
                "The licence of the base model is not recorded here: look for it where the base model comes from."
            )
        elif self.base.limits:
            said.append(f"The base model is not free for every use ({', '.join(self.base.limits)}).")
        elif {_RESEARCH, _NO_COMMERCE} & set(self.data.limits):
            said.append(
                f"The terms of the data ({', '.join(self.data.limits)}) do not go together with commercial use, which"
                " the base model and the code allow. Whether they reach what was learned from the data is for their"
                " owner to say: ask before any other use."
            )
        if _NOT_PASSED_ON in self.data.limits:
            held = "holds titles and texts of items from them" if items else "holds none of their texts"
            said.append(f"The data are not to be passed on; this folder {held}.")
        if self.data.terms == UNKNOWN:
            said.append("No terms of the data are recorded: ask whoever published this model.")
        elif not self.data.limits and not self.data.free:
            said.append("What the terms of the data allow cannot be told from their words: read them.")
        return said


def licences_of(recipe: Recipe, metrics: Mapping[str, Any], base: str | None = None) -> Licences:
    """Return the licences of a run's parts, as far as they are recorded.

    Args:
        recipe: Resolved recipe of the run.
        metrics: Its ``metrics.json``.
        base: Identifier of the base model's licence, if the caller knows it, such as from its card on the Hub.
    """
    return Licences(
        _of_base(metrics["base"], base),
        _of_data(recipe, str(metrics["data"]["licence"])),
        Licence("code (llmrec-peft)", CODE, "its LICENSE", free=True),
    )


def limits_of(terms: str) -> tuple[str, ...]:
    """Return the limits that an owner's terms name.

    >>> limits_of("Research use; no redistribution without permission.")
    ('research use', 'not to be passed on')
    """
    return tuple(limit for pattern, limit in _WORDS if pattern.search(terms))


def _of_base(base: Mapping[str, Any], told: str | None) -> Licence:
    if told is not None:
        return _identified(told, "its card on the Hub")
    for name in registry.plugins("backbones"):
        alias: BackboneAlias = registry.get("backbones", name)
        if alias.licence and base.get("weights_sha256") in alias.digests:
            return _identified(alias.licence, f"card of {alias.hub_id}")
    return Licence("base model", UNKNOWN, "not recorded")


def _identified(identifier: str, source: str) -> Licence:
    """Return the licence of a base model by the Hub's identifier."""
    if identifier in _FREE:
        return Licence("base model", identifier, source, free=True)
    limit = _NO_COMMERCE if "-nc" in identifier else f"terms of its own: {identifier}"
    return Licence("base model", identifier, source, () if identifier == UNKNOWN else (limit,))


def _of_data(recipe: Recipe, terms: str) -> Licence:
    part, source = "training data", f"reader {recipe.data.reader}"
    if recipe.data.path == DEMO:
        return Licence(part, terms, source, free=True)
    if recipe.data.reader in OWN_DATA or not terms.strip():
        return Licence(part, UNKNOWN, "not recorded: data of the publisher's own")
    limits = limits_of(terms)
    return Licence(part, terms, source, limits, not limits and bool(_FREE_WORDS.search(terms)))
