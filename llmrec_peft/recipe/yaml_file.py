"""YAML of recipes as plain values: read it safely, override dotted fields, merge, write."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from llmrec_peft.errors import InputError

MAX_BYTES = 1 << 20
_SWITCHES = {"adapter": "method", "head": "name"}
"""Blocks whose other fields belong to the plugin that one field names."""


class _Loader(yaml.SafeLoader):
    """Safe YAML without anchors: a few nested aliases can stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="aliases are not allowed", problem_mark=self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that stands twice: plain YAML would let the last one win without a word."""
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key.value, str)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} stands twice", problem_mark=key.start_mark)
            seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


def parse_yaml(text: str, where: str) -> Any:
    """Parse one YAML document into plain values.

    Raises:
        InputError: With the line and column of what cannot be read.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - _Loader derives SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(f"{where}{place}: unreadable YAML ({error.problem})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{where}: unreadable YAML ({str(error).splitlines()[0]})") from None


def read_yaml(path: Path) -> Any:
    """Read a YAML file into plain values.

    Raises:
        InputError: When the file cannot be opened, is no UTF-8 text, is over 1 MiB or no YAML.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: over {MAX_BYTES} bytes, which is no recipe")
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path}: unreadable YAML (not UTF-8 text)") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    return parse_yaml(text, str(path))


def dump_yaml(values: Any) -> str:
    """Write plain values as YAML in their own order."""
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)


def parse_override(text: str) -> tuple[str, Any]:
    """Split ``a.b=value`` into its dotted field and its YAML value.

    >>> parse_override("training.epochs=3")
    ('training.epochs', 3)
    >>> parse_override("training.adapter.learning_rate=1e-3")
    ('training.adapter.learning_rate', 0.001)

    Raises:
        InputError: When there is no ``=`` or no field name.
    """
    field, equals, value = text.partition("=")
    field = field.strip()
    if not equals or not field or not all(field.split(".")):
        raise InputError(f"--set {text!r}: write it as field=value, such as training.epochs=3")
    if value.lstrip().startswith(("{{", "{%")):  # a template, which YAML takes for a broken mapping
        return field, value.strip()
    parsed = parse_yaml(value, f"--set {field}")
    if isinstance(parsed, str) and parsed == value.strip():  # a quoted number is meant as text
        # YAML 1.1 reads 1e-3 as text because it lacks a dot; people who set learning rates mean a number.
        try:
            number = float(parsed)
        except ValueError:
            return field, parsed
        return field, number if math.isfinite(number) else parsed
    return field, parsed


def apply_override(values: dict[str, Any], dotted: str, value: Any) -> None:
    """Set one dotted field in place.

    Naming another adapter method or head drops the former one's options, which the new one does not know.

    Raises:
        InputError: When the path runs through something that is no block.
    """
    *parents, last = dotted.split(".")
    block = values
    for part in parents:
        inner = block.get(part)
        if inner is None or isinstance(inner, bool):
            inner = block[part] = {}
        if not isinstance(inner, dict):
            raise InputError(f"--set {dotted}: {part!r} is a single value, not a block of fields")
        block = inner
    if len(parents) == 1 and _SWITCHES.get(parents[0]) == last and block.get(last) != value:
        block.clear()
    block[last] = value


def merge(base: Any, over: Any) -> Any:
    """Lay one tree of plain values over another; neither is changed."""
    if isinstance(base, dict) and isinstance(over, dict):
        return {
            **{key: merge({}, value) for key, value in base.items() if key not in over},
            **{key: merge(base.get(key, {}), value) for key, value in over.items()},
        }
    return over
