"""Preflight: refuse an adapter and a base that cannot work together before anything is loaded; without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from llmrec_peft import registry
from llmrec_peft.backbone.facts import BackboneFacts, facts_of_config
from llmrec_peft.backbone.remote_code import decided
from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    from llmrec_peft.options import Options
    from llmrec_peft.recipe import Recipe

QUANTIZATIONS = ("none", "int8", "nf4")


def require_possible(recipe: Recipe) -> None:
    """Refuse an impossible recipe from configuration files alone.

    A Hub id that is not in the cache yet has no known facts; it is checked again after the download.

    Raises:
        InputError: With the reason, and the methods and precisions that would work; or if the recipe asks to run code
            of its base and nobody allowed that.
    """
    section = recipe.backbone
    decided(section)
    facts = known_facts(section.name, section.revision)
    require_method(recipe.adapter.method, recipe.adapter.config, facts, section.quantization)
    if recipe.training.gradient_checkpointing:
        method = registry.get("adapters", recipe.adapter.method)
        if not method.capabilities.gradient_checkpointing:
            raise InputError(
                f"training.gradient_checkpointing: adapter {recipe.adapter.method!r} cannot be trained with"
                " recomputed activations; switch it off, or take a smaller batch"
            )


def require_method(name: str, config: Options, facts: BackboneFacts | None, quantization: str) -> None:
    """Refuse a method with these options on such a base.

    Args:
        name: Registered method.
        config: Its options.
        facts: What is known of the model; None if nothing is.
        quantization: ``none``, ``int8`` or ``nf4``.

    Raises:
        InputError: With the reason, and the methods and precisions that would work.
    """
    why = refusal(name, config, facts, quantization)
    if why is None:
        return
    if why.startswith("adapter."):  # an option is wrong, not the combination
        raise InputError(why)
    precisions = [q for q in QUANTIZATIONS if q != quantization and refusal(name, config, facts, q) is None]
    others = [other for other in registry.plugins("adapters") if other != name and _works(other, facts, quantization)]
    hints = []
    if precisions:
        hints.append(f"{name!r} works with backbone.quantization={' or '.join(precisions)}")
    if others:
        base = facts.kind if facts is not None else "model"
        hints.append(f"on this {base} in {_said(quantization)} these work: {', '.join(sorted(others))}")
    raise InputError(f"adapter {name!r}: {why}; {'; '.join(hints)}" if hints else f"adapter {name!r}: {why}")


def refusal(name: str, config: Options, facts: BackboneFacts | None, quantization: str) -> str | None:
    """Return why a method with these options cannot train on such a base; None if it can.

    Raises:
        InputError: If the method itself cannot be imported.
    """
    method = registry.get("adapters", name)
    able = method.capabilities
    if quantization not in able.quantizations:
        return f"cannot train on {quantization} weights"
    if facts is None:
        return None
    if not getattr(able, facts.kind):
        return f"does not work in a {facts.kind}"
    said: str | None = method(config).refusal(facts, quantization)
    return said


def known_facts(name: str, revision: str | None = None) -> BackboneFacts | None:
    """Return what is known of a backbone without reading its weights or asking the Hub.

    Args:
        name: Alias, local folder, or Hub id.
        revision: Commit of a Hub id.
    """
    if name in registry.plugins("backbones"):
        alias = registry.get("backbones", name)
        if alias.facts is not None:
            facts: BackboneFacts = alias.facts
            return facts
        folder = alias.embedded()
        return None if folder is None else _of_file(folder / "config.json")
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _of_file(folder / "config.json")
    if name.count("/") == 1 and revision is not None:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(name, "config.json", revision=revision)
        return _of_file(Path(found)) if isinstance(found, str) else None
    return None


def _of_file(path: Path) -> BackboneFacts | None:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # loading reports what is wrong with it
    return facts_of_config(config) if isinstance(config, dict) else None


def _works(name: str, facts: BackboneFacts | None, quantization: str) -> bool:
    try:
        return refusal(name, registry.get("adapters", name).Config(), facts, quantization) is None
    except InputError:
        return False


def _said(quantization: str) -> str:
    return "full precision" if quantization == "none" else quantization
