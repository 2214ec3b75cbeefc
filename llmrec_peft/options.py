"""Blocks of validated options: unknown fields rejected, every field documented, errors in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from llmrec_peft.errors import InputError, nearest
from llmrec_peft.printable import quoted


class UnknownFieldError(InputError):
    """A field that a block of options does not have.

    Attributes:
        field: Its dotted name in the recipe.
        close: The field of the same block that was probably meant; None if none is like it.
    """

    def __init__(self, field: str, known: Iterable[str]) -> None:
        """Name the field, and the nearest of those that the block has."""
        last = field.rpartition(".")[2]
        self.field, self.known = field, tuple(known)
        self.close = next(iter(difflib.get_close_matches(last, self.known, n=1, cutoff=0.5)), None)
        super().__init__(f"unknown field {field!r}: {nearest(last, self.known) if self.known else ''}")


class MissingFieldsError(InputError):
    """Required fields that are not there.

    Attributes:
        fields: Their dotted names in the recipe.
    """

    def __init__(self, fields: Sequence[str]) -> None:
        """Name all of them."""
        self.fields = tuple(fields)
        super().__init__(f"{', '.join(fields)}: Field{'s' if len(fields) > 1 else ''} required")


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


def refused(error: ValidationError, options: type[BaseModel], where: str = "") -> InputError:
    """Turn pydantic's report into one line that names the field and, for a misspelled field, the right name.

    All required fields that are missing are named together. A misspelled one is named before them, since it is
    probably one of them.

    Args:
        error: What pydantic raised.
        options: The block that was being validated.
        where: Dotted path of that block inside the recipe, such as ``adapter``.
    """
    errors = error.errors(include_url=False)
    strange = next((one["loc"] for one in errors if one["type"] == "extra_forbidden"), None)
    missing = [_dotted(where, place) for place in _missing(errors, options)]
    if strange is not None and (missing or errors[0]["type"] == "extra_forbidden"):
        block = _block_at(options, strange[:-1])
        unknown = UnknownFieldError(_dotted(where, strange), block.model_fields if block else ())
        if not missing or any(unknown.close in name.split(".") for name in missing):
            return unknown
    if missing:
        return MissingFieldsError(missing)
    first = errors[0]
    fields = _fields_of(options, first["loc"])
    path = _dotted(where, fields)
    # a field that takes several types has one error for each: the line lists all that would be right
    messages = [one["msg"].removeprefix("Value error, ") for one in errors if _fields_of(options, one["loc"]) == fields]
    message = ", or ".join(
        dict.fromkeys([messages[0], *(one.removeprefix("Input should be ") for one in messages[1:])])
    )
    given = "" if first["type"] == "value_error" else f" (given: {quoted(first['input'], 60)})"
    return InputError(f"{path or 'recipe'}: {message}{given}")


def one_line(error: ValidationError, options: type[BaseModel], where: str = "") -> str:
    """Return what `refused` says of pydantic's report."""
    return str(refused(error, options, where))


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
        raise refused(error, options, where) from None


def _missing(errors: Sequence[Any], options: type[BaseModel]) -> list[tuple[int | str, ...]]:
    """Return the places of the required fields that are missing; of a missing block, those of its own fields."""
    found: list[tuple[int | str, ...]] = []
    for one in errors:
        if one["type"] == "missing":
            place = tuple(_fields_of(options, one["loc"]))
            block = _block_at(options, tuple(part for part in place if not isinstance(part, int)))
            found += [(*place, *inner) for inner in _required(block)] if block is not Options else []
    return list(dict.fromkeys(found))


def _required(block: type[BaseModel] | None) -> list[tuple[str, ...]]:
    """Return the places of a block's required fields; the block itself where it has none.

    Options of plugins are left out: which they are follows from the plugins' names.
    """
    found: list[tuple[str, ...]] = []
    if block is None:
        return [()]
    for name, field in block.model_fields.items():
        if field.is_required() and Options not in (field.annotation, *get_args(field.annotation)):
            found += [(name, *inner) for inner in _required(_block_at(block, (name,)))]
    return found or [()]


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
