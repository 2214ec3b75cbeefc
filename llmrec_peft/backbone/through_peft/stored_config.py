"""``adapter_config.json``: its text bounded and strict, its fields held against those that our own method would write.

Nothing of the file is handed on to PEFT. A configuration can name regular expressions, starts that rewrite the base's
weights, layers to repeat and code to import; so the method's own configuration, made from the recipe's options, is what
is attached, and the file has to say the same. What training decides, and no option (the ranks that AdaLoRA leaves), a
method declares as typed and bounded fields.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from llmrec_peft.errors import InputError
from llmrec_peft.options import Options, validated
from llmrec_peft.strict_json import quoted, read_json

if TYPE_CHECKING:
    from llmrec_peft.backbone.load import Backbone

CONFIG = "adapter_config.json"
CONFIG_LIMIT = 16 << 20
"""Bytes of the file: AdaLoRA writes a line for each rank of each layer."""


class Learned(Options):
    """Fields of a configuration that training decides and no option of the recipe; none, unless a method says so."""


class Origin(Options):
    """Fields that say where an adapter comes from; they are for people and change nothing."""

    base_model_name_or_path: Annotated[str, Field(max_length=4096)] | None = None
    """Hub id or folder of the base."""
    revision: Annotated[str, Field(max_length=256)] | None = None
    """Its commit."""
    peft_version: Annotated[str, Field(max_length=128)] | None = None
    """Version of PEFT that wrote the file."""


def plain_config(config: Any) -> dict[str, Any]:
    """Return the fields of a `PeftConfig` as the file has them."""
    plain: dict[str, Any] = json.loads(json_text({**config.to_dict(), "inference_mode": True}))
    return plain


def json_text(fields: Mapping[str, Any]) -> str:
    """Return the text of the file."""
    return json.dumps(fields, indent=2, sort_keys=True, default=_listed)


def read_config(folder: Path, backbone: Backbone, expected: Mapping[str, Any], learned: type[Options]) -> Options:
    """Read the file and refuse every field that our own method would have written otherwise.

    Args:
        folder: Folder of the file.
        backbone: The base that it names.
        expected: The fields that our own method writes for this recipe and base.
        learned: Fields that are read from the file, typed and bounded.

    Returns:
        The fields of `learned`.

    Raises:
        InputError: Naming the field, what it says, and what it should say.
    """
    path = folder / CONFIG
    fields = read_json(path, CONFIG_LIMIT)
    if not isinstance(fields, dict):
        raise InputError(f"{path}: not an adapter's configuration")
    origin = validated(Origin, {name: fields.get(name) for name in Origin.model_fields}, str(path))
    _require_origin(path, backbone, origin)
    fixed = {
        name: value for name, value in expected.items() if name not in {*Origin.model_fields, *learned.model_fields}
    }
    for name in ("peft_type", *sorted(fixed.keys() - {"peft_type"})):
        if name not in fields:
            if fixed.get(name):  # what a release of PEFT lacks is off, as None, False and empty ones are
                raise InputError(f"{path}: {name} is missing; this run's recipe means {quoted(fixed[name])}")
        elif not _same(fields[name], fixed[name]):
            said, meant = _apart(fields[name], fixed[name])
            raise InputError(f"{path}: {name} is {said}, not {meant}, which this run's recipe means")
    for name in sorted(fields.keys() - expected.keys() - learned.model_fields.keys() - Origin.model_fields.keys()):
        raise InputError(
            f"{path}: unknown field {quoted(name)}: the adapter of this run's recipe has none of this name"
        )
    return validated(learned, {name: fields[name] for name in learned.model_fields if name in fields}, str(path))


def _require_origin(path: Path, backbone: Backbone, origin: Any) -> None:
    """Refuse another name or commit than the base's, where it has a commit; a folder's name says nothing."""
    identity = backbone.identity
    if identity.revision is None:
        return
    for field, expected in (("base_model_name_or_path", identity.name), ("revision", identity.revision)):
        found = getattr(origin, field)
        if found != expected:
            raise InputError(f"{path}: {field} is {quoted(found)}, not {expected!r}")


def _same(found: Any, expected: Any) -> bool:
    """Whether two plain values are equal: 16 is 16.0, but True is not 1."""
    if isinstance(expected, dict):
        return (
            isinstance(found, dict)
            and found.keys() == expected.keys()
            and all(_same(found[name], value) for name, value in expected.items())
        )
    if isinstance(expected, list):
        return (
            isinstance(found, list)
            and len(found) == len(expected)
            and all(_same(*pair) for pair in zip(found, expected, strict=True))
        )
    numbers = {type(found), type(expected)} <= {int, float}
    return (numbers or type(found) is type(expected)) and bool(found == expected)


def _apart(found: Any, expected: Any) -> tuple[str, str]:
    """Return two values for a message; of two long texts, the parts where they begin to differ."""
    if isinstance(found, str) and isinstance(expected, str) and max(len(found), len(expected)) > 40:  # noqa: PLR2004
        same = next((at for at, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), 0)
        begin = max(0, same - 10)
        return tuple(quoted(f"{'…' if begin else ''}{text[begin : begin + 30]}") for text in (found, expected))  # type: ignore[return-value]
    return quoted(found), quoted(expected)


def _listed(value: Any) -> Any:
    """Return sets and enums as JSON has them."""
    if isinstance(value, set | frozenset):
        return sorted(value)
    return getattr(value, "value", None) or str(value)
