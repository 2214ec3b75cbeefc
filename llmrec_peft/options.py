"""Blocks of validated options: unknown fields rejected, every field documented, errors in one line."""

from __future__ import annotations

from collections.abc import Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from llmrec_peft.errors import InputError, nearest
from llmrec_peft.printable import quoted


class Options(BaseModel):
    """A block of options in a recipe; a docstring under each field is its documentation."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False, protected_namespaces=()
    )


def describe(options: type[BaseModel]) -> list[dict[str, Any]]:
    """List the fields of an option block: name, type, default, documentation and, if the field is required, so."""
    schema = options.model_json_schema()
    rows = []
    for name, field in options.model_fields.items():
        prop = schema.get("properties", {}).get(name, {})
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        limits = {
            key: prop[key] for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum") if key in prop
        }
        rows.append(
            {
                "name": name,
                "type": spelled(field.annotation),
                "default": default.model_dump(mode="json") if isinstance(default, BaseModel) else default,
                "required": field.is_required(),
                "limits": limits,
                "description": " ".join((field.description or "").split()),
            }
        )
    return rows


def describe_deep(options: type[BaseModel], prefix: str = "") -> list[dict[str, Any]]:
    """List fields as `describe` does, those of blocks inside below them, by dotted name; NAME stands for any name."""
    rows = []
    for row, field in zip(describe(options), options.model_fields.values(), strict=True):
        rows.append({**row, "name": f"{prefix}{row['name']}"})
        mapped = get_origin(field.annotation) is dict
        kinds = [field.annotation, *get_args(field.annotation)]
        inner = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if inner is not None:
            rows += describe_deep(inner, f"{prefix}{row['name']}.{'NAME.' if mapped else ''}")
    return rows


def spelled(annotation: Any) -> str:
    """Spell a type as one would write it, without modules and limits: ``int | Literal['all']``, ``tuple[str, ...]``."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return spelled(inside[0])
    if origin in (Union, UnionType):
        return " | ".join(map(spelled, inside))
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, inside))}]"
    if annotation is type(None):
        return "None"
    if annotation is Ellipsis:
        return "..."
    name = str(getattr(origin or annotation, "__name__", annotation))
    return f"{name}[{', '.join(map(spelled, inside))}]" if inside else name


def one_line(error: ValidationError, options: type[BaseModel], where: str = "") -> str:
    """Turn pydantic's report into one line that names the field and, for a misspelled field, the right name.

    Args:
        error: What pydantic raised.
        options: The block that was being validated.
        where: Dotted path of that block inside the recipe, such as ``adapter``.
    """
    errors = error.errors(include_url=False)
    first = errors[0]
    place = first["loc"]
    if first["type"] == "extra_forbidden":
        block = _block_at(options, place[:-1])
        known = nearest(str(place[-1]), block.model_fields) if block else ""
        return f"unknown field {_dotted(where, place)!r}: {known}"
    fields = _fields_of(options, place)
    path = _dotted(where, fields)
    # a field that takes several types has one error for each: the line lists all that would be right
    messages = [one["msg"].removeprefix("Value error, ") for one in errors if _fields_of(options, one["loc"]) == fields]
    message = ", or ".join(
        dict.fromkeys([messages[0], *(one.removeprefix("Input should be ") for one in messages[1:])])
    )
    given = "" if first["type"] in {"missing", "value_error"} else f" (given: {quoted(first['input'], 60)})"
    return f"{path or 'recipe'}: {message}{given}"


def validated(options: type[Options], values: Any, where: str) -> Options:
    """Build an option block from plain values.

    Raises:
        InputError: With the field, its place and what would be right.
    """
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise InputError(f"{where}: expected a block of options, got {quoted(values, 60)}")
    try:
        return options.model_validate(values)
    except ValidationError as error:
        raise InputError(one_line(error, options, where)) from None


def _dotted(where: str, place: Sequence[int | str]) -> str:
    return ".".join([*([where] if where else []), *(str(part)[:60] for part in place)])


def _fields_of(options: type[BaseModel], place: Sequence[int | str]) -> list[int | str]:
    """Return a location without the branches of unions, which pydantic names after a field with several types."""
    block: type[BaseModel] | None = options
    found: list[int | str] = []
    for at, part in enumerate(place):
        a_key = at + 1 < len(place) and place[at + 1] == "[key]"  # of a mapping, which is what is wrong there
        if isinstance(part, int) or a_key:
            found.append(part)
        elif block is not None and part in block.model_fields:
            found.append(part)
            block = _block_at(block, (part,))
    return found


def _block_at(options: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel] | None:
    """Follow a location down nested option blocks."""
    block: type[BaseModel] | None = options
    for part in path:
        field = block.model_fields.get(str(part)) if block else None
        candidates = [field.annotation, *get_args(field.annotation)] if field else []
        block = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
    return block
