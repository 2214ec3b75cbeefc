"""YAML of recipes as plain values: read it safely, override dotted fields, merge, write."""

from __future__ import annotations

import math
import re
import stat
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.reader import ReaderError

from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.printable import for_terminal, quoted

MAX_BYTES = 1 << 20
_SWITCHES = {"adapter": "method", "head": "name"}
"""Blocks whose other fields belong to the plugin that one field names."""


_DEEPEST = 24
"""Blocks and lists inside each other; recipes have six."""
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")
"""Characters that a quoted text can spell and no text holds: control characters and halves of characters."""
_NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
_BOOLEAN = re.compile(r"^(?:yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$")
_INTEGER = re.compile(r"^[-+]?(?:0|[1-9][0-9]{0,18})$")
_FLOAT = re.compile(
    r"^(?:[-+]?(?:[0-9]{1,400}\.[0-9]{0,400}|\.[0-9]{1,400})(?:[eE][-+][0-9]{1,5})?|[-+]?\.(?:inf|Inf|INF)"
    r"|\.(?:nan|NaN|NAN))$"
)
_ODD = re.compile(
    r"^(?:[-+]?0b[01_]+|[-+]?0x[0-9a-fA-F_]+|[-+]?0[0-7_]+|[-+]?[0-9][0-9_]*_[0-9_]*(?:\.[0-9_]*)?"
    r"|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?)$"
)
"""Numbers in the notations of YAML 1.1: 0x1f, 010 for eight, 1_000, 1:30 for ninety. Few people mean them."""
_TAGS = "tag:yaml.org,2002:"


_RESOLVERS: dict[Any, list[tuple[str, re.Pattern[str]]]] = {
    None: [
        (f"{_TAGS}null", _NULL),
        (f"{_TAGS}bool", _BOOLEAN),
        (f"{_TAGS}int", _INTEGER),
        (f"{_TAGS}float", _FLOAT),
        ("odd", _ODD),
    ]
}
"""What a plain scalar is, by its spelling."""


class _PlainValues(SafeConstructor):
    """Makes plain values of nodes: no merged keys, dates, or numbers in odd notations."""

    def construct_scalar(self, node: Any) -> Any:
        """Refuse texts with characters that no text holds."""
        value = super().construct_scalar(node)
        if _CONTROL.search(value):
            raise _wrong("a text holds a control character or half a character", node)
        return value

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that is no text, or that stands twice: plain YAML would let the last one win without a word."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != f"{_TAGS}str":
                raise _wrong(f"the name of a field is a text; {_shown(key)} stands in quotes then", key)
            if key.value in seen:
                raise _wrong(f"{_shown(key)} stands twice", key)
            seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


class _Loader(_PlainValues, yaml.SafeLoader):
    """Safe YAML without aliases and tags, in Python: it names the line of what it refuses.

    A few nested aliases can stand for gigabytes, and a tag can ask for what a value is not.
    """

    yaml_implicit_resolvers = _RESOLVERS

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse aliases, tags and too many levels where they stand."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _wrong("aliases are not allowed", event)
        if event.tag is not None:
            name = event.tag.replace(_TAGS, "!!")[:40]
            raise _wrong(f"tags such as {name!r} are not allowed; a text stands in quotes", event)
        if self._depth >= _DEEPEST:
            raise _wrong(f"more than {_DEEPEST} levels inside each other", event)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _FastLoader(_PlainValues, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The same values by libyaml, where that is there."""

    yaml_implicit_resolvers = _RESOLVERS


_UNREAD = object()
_COMMON = re.compile(r"[\n\x20-\x3e\x40-\x7e]*")
"""Texts that libyaml and PyYAML read alike: ASCII without question marks, which libyaml takes in plain texts."""


def _fast(text: str) -> Any:
    """Parse an ordinary text with libyaml; `_UNREAD` for one that `_Loader` has to judge.

    Nothing is refused here. Loading a run took 13 ms, of which 8 were PyYAML's scanner.
    """
    if not _COMMON.fullmatch(text):
        return _UNREAD
    depth = 0
    try:
        for event in yaml.parse(text, Loader=_FastLoader):  # one by one, so that depth is known before nodes are made
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            odd = isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) is not None
            if odd or getattr(event, "anchor", None) is not None or depth >= _DEEPEST:
                return _UNREAD
        return yaml.load(text, Loader=_FastLoader)  # noqa: S506 - _FastLoader derives CSafeLoader
    except (yaml.YAMLError, ValueError, RecursionError):
        return _UNREAD


def _strict(text: str) -> Any:
    """Parse any text, or raise yaml's error with the place of what is wrong."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - _Loader derives SafeLoader


def _odd(_: Any, node: Any) -> Any:
    raise _wrong(f"{_shown(node)} is read as other numbers by other programs: write it in decimals, or in quotes", node)


_Loader.add_constructor("odd", _odd)
_FastLoader.add_constructor("odd", _odd)


def _wrong(problem: str, where: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=where.start_mark)


def _shown(node: Any) -> str:
    return quoted(node.value, 40) if isinstance(node.value, str) else "a list or a block"


def parse_yaml(text: str, where: str) -> Any:
    """Parse one YAML document into plain values: texts, finite and infinite numbers, booleans, lists, and blocks.

    Raises:
        InputError: With the line and column of what cannot be read.
    """
    values = _fast(text)
    if values is not _UNREAD:
        return values
    try:
        return _strict(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(f"{where}{place}: unreadable YAML ({str(error.problem)[:300]})") from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InputError(f"{where}, line {line}: unreadable YAML (a control character)") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{where}: unreadable YAML ({reason_of(error)})") from None


def read_yaml(path: Path) -> Any:
    """Read a YAML file into plain values.

    Raises:
        InputError: When it is no file, cannot be opened, is no UTF-8 text, is over 1 MiB or no YAML.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{path}: no file")
        if found.st_size > MAX_BYTES:
            raise InputError(f"{path}: over {MAX_BYTES} bytes, which is no recipe")
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: unreadable YAML (not UTF-8 text)") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {reason_of(error)}") from None
    return parse_yaml(text, str(path))


def dump_yaml(values: Any) -> str:
    """Write plain values as YAML in their own order; characters that a terminal would obey are written as escapes."""
    text: str = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)
    if all(line == for_terminal(line) for line in text.split("\n")):
        return text
    return str(yaml.safe_dump(values, sort_keys=False, allow_unicode=False, width=100))


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
        raise InputError(f"--set {text[:100]!r}: write it as field=value, such as training.epochs=3")
    if len(text) > MAX_BYTES or field.count(".") >= _DEEPEST:
        raise InputError(f"--set {field[:60]}…: no field of a recipe is that long")
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
