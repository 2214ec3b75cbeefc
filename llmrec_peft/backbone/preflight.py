"""Preflight: refuse an adapter and a base that cannot work together before anything is loaded; without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft import registry
from llmrec_peft.backbone.base_files import CONFIG, read_config, require_base_folder
from llmrec_peft.backbone.facts import BackboneFacts, facts_of_config
from llmrec_peft.backbone.remote_code import decided
from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    from llmrec_peft.options import Options
    from llmrec_peft.recipe import Recipe
    from llmrec_peft.recipe.sections import BackboneSection

QUANTIZATIONS = ("none", "int8", "nf4")


def require_possible(recipe: Recipe) -> None:
    """Refuse an impossible recipe from configuration files alone.

    A Hub id that is not in the cache yet has no known facts; it is checked again after the download.

    Raises:
        InputError: With the reason, and the methods and precisions that would work; or if the recipe asks to run code
            of its base and nobody allowed that.
    """
    section = recipe.backbone
    folder = Path(section.name).expanduser()
    if section.name not in registry.plugins("backbones") and folder.is_dir():
        require_base_folder(folder)
    decided(section)
    facts = known_facts(section.name, section.revision)
    require_pooling(section.pooling, facts)
    require_method(recipe.adapter.method, recipe.adapter.config, facts, section.quantization)
    if recipe.training.gradient_checkpointing:
        method = registry.get("adapters", recipe.adapter.method)
        if not method.capabilities.gradient_checkpointing:
            raise InputError(
                f"training.gradient_checkpointing: adapter {recipe.adapter.method!r} cannot be trained with"
                " recomputed activations; switch it off, or take a smaller batch"
            )


def require_pooling(pooling: str, facts: BackboneFacts | None) -> None:
    """Refuse pooling by the first token where it has read nothing of the text.

    Args:
        pooling: ``mean``, ``cls``, ``last-token``, or what follows the files.
        facts: What is known of the model; None if nothing is.

    Raises:
        InputError: For ``cls`` in a decoder, whose first token sees no later one, so that all texts would be alike.
    """
    if pooling == "cls" and facts is not None and facts.kind == "decoder" and not facts.bidirectional:
        raise InputError(
            "backbone.pooling: cls reads the first token, which in a decoder has seen nothing after it, so that all"
            " texts would have one vector: take mean or last-token"
        )


def require_config(config: Mapping[str, Any], section: BackboneSection) -> None:
    """Refuse a configuration that sends transformers to other files or code than those that are verified.

    Args:
        config: Parsed ``config.json``.
        section: How the backbone is to be loaded.

    Raises:
        InputError: Naming the field.
    """
    if config.get("transformers_weights") is not None:
        raise InputError(f"backbone {section.name}: config.json: transformers_weights names other weights: remove it")
    for field, value in config.items():
        if field.endswith("_implementation") and "/" in str(value) and not section.trust_remote_code:
            raise InputError(f"backbone {section.name}: config.json: {field} names code on the Hub: remove it")
    stored = config.get("quantization_config")
    if stored is not None and section.quantization == "none":
        raise InputError(
            f"backbone {section.name}: its weights are stored quantized (quantization_config in config.json): give"
            " backbone.quantization, or the model before it was quantized"
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
        return None if folder is None else _of_file(folder / CONFIG)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _of_file(folder / CONFIG)
    if name.count("/") == 1 and revision is not None:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(name, CONFIG, revision=revision)
        return _of_file(Path(found)) if isinstance(found, str) else None
    return None


def _of_file(path: Path) -> BackboneFacts | None:
    try:
        return facts_of_config(read_config(path))
    except InputError:
        return None  # loading reports what is wrong with it


def _works(name: str, facts: BackboneFacts | None, quantization: str) -> bool:
    try:
        return refusal(name, registry.get("adapters", name).Config(), facts, quantization) is None
    except InputError:
        return False


def _said(quantization: str) -> str:
    return "full precision" if quantization == "none" else quantization
