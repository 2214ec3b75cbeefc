"""Mutated recipes: YAML files of any bytes, and well-formed ones with values that no field takes."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from fuzz.harness import Attempt
from llmrec_peft import registry
from llmrec_peft.recipe import Recipe, load_recipe
from llmrec_peft.recipe.yaml_file import parse_yaml

_TOKENS = (
    "!!int \"\"", "!!bool foo", "!!timestamp x", "!!python/name:os.system", "!!binary aGk=", "!x y", "&a [*a]",
    "*a", "&a", "<<: *a", "0x" + "f" * 5000, "0b1", "010", "1:59:59:59", "1_000", ".inf", "-.inf", ".nan",
    "2020-01-01", "=", "<<", "~", "? [a]", "? {a: b}", "\t", "\0", "\"\\0\"", "\"\\ud800\"", "\"\\e[2J\"",
    "\u202e", "\ufeff", "[" * 400, "{a: " * 400, "- " * 400, "|", ">-", "'", '"', "%YAML 1.2", "---", "...",
    "#", ": ", "{", "}", "]", "yes", "no", "off", "null", "1e400", "9" * 5000, "é", "\x85",
)  # fmt: skip


def attempts(rng: random.Random, folder: Path) -> Iterator[Attempt]:
    """Yield files and values, read as `validate` reads them."""
    sources = [path.read_text(encoding="utf-8") for path in _recipes()]
    path = folder / "recipe.yaml"
    while True:
        source = rng.choice(sources)
        way = rng.random()
        if way < 0.45:
            content = _tokens(rng, source).encode("utf-8", "surrogatepass")
        elif way < 0.6:
            content = _bytes(rng, source.encode())
        else:
            content = _values(rng, source).encode("utf-8", "surrogatepass")
        yield Attempt(f"seeded recipe {content[:200]!r}… ({len(content)} bytes)", partial(_load, path, content))
        if rng.random() < 0.02:
            yield Attempt("no file", partial(_load_odd, folder, rng.randrange(4)))


def _recipes() -> list[Path]:
    return [registry.get("recipes", name) for name in registry.plugins("recipes")]


def _load(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    recipe = load_recipe(str(path))
    again = Recipe.from_plain(parse_yaml(recipe.to_yaml(), "again"))
    assert again == recipe, "a recipe that is written reads back as another"


def _load_odd(folder: Path, kind: int) -> None:
    path = folder / f"odd{kind}.yaml"
    if not os.path.lexists(path):
        (path.mkdir, lambda: os.mkfifo(path), lambda: path.symlink_to("/dev/zero"), lambda: path.symlink_to(path))[
            kind
        ]()
    load_recipe(str(path))


def _tokens(rng: random.Random, source: str) -> str:
    """Put odd tokens in place of values, names and lines."""
    lines = source.split("\n")
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines))
        token = rng.choice(_TOKENS)
        name, colon, value = lines[at].partition(":")
        way = rng.random()
        if way < 0.5 and colon:
            lines[at] = f"{name}: {token}"
        elif way < 0.6 and colon:
            lines[at] = f"{token}:{value}"
        elif way < 0.7:
            lines.insert(at, token)
        elif way < 0.8:
            lines[at] = lines[rng.randrange(len(lines))]
        elif way < 0.9:
            lines[at] = " " * rng.randrange(8) + lines[at].lstrip()
        else:
            del lines[at]
            lines = lines or [""]
    return "\n".join(lines)


def _bytes(rng: random.Random, content: bytes) -> bytes:
    way = rng.randrange(6)
    if way == 0:
        return content[: rng.randrange(len(content))]
    if way == 1:
        return b"".join(
            bytes([byte ^ (1 << rng.randrange(8))]) if rng.random() < 0.01 else bytes([byte]) for byte in content
        )
    if way == 2:
        return rng.randbytes(rng.randrange(2000))
    if way == 3:
        return content.decode().encode(rng.choice(["utf-16", "utf-32", "utf-8-sig", "cp037"]), "replace")
    if way == 4:
        return content + b"#" * rng.choice([0, 1 << 20])
    at = rng.randrange(len(content))
    return content[:at] + rng.choice([b"\xff", b"\x00", b"\xed\xa0\x80", b"\r", b"\x1b[2J", b"\xc2\x85"]) + content[at:]


def _values(rng: random.Random, source: str) -> str:
    """Put odd values into the fields of a well-formed recipe."""
    values: Any = yaml.safe_load(source)
    for _ in range(rng.randint(1, 3)):
        block, name = _place(rng, values)
        way = rng.random()
        if way < 0.7:
            block[name] = odd_value(rng)
        elif way < 0.85:
            block[odd_text(rng)] = odd_value(rng)
        else:
            del block[name]
    return str(yaml.dump(values, allow_unicode=rng.random() < 0.5, Dumper=yaml.SafeDumper))


def _place(rng: random.Random, values: Any) -> tuple[dict[Any, Any], Any]:
    block = values
    while True:
        name = rng.choice(list(block) or ["x"])
        inner = block.get(name)
        if not isinstance(inner, dict) or not inner or rng.random() < 0.2:
            block.setdefault(name, None)
            return block, name
        block = inner


def odd_value(rng: random.Random, depth: int = 2) -> Any:
    """Return a value that few fields take."""
    way = rng.random()
    if way < 0.3 or depth == 0:
        return rng.choice(
            [
                None,
                True,
                False,
                0,
                -1,
                1,
                2**31,
                2**63,
                10**30,
                -(10**30),
                0.5,
                -0.0,
                1e308,
                float("inf"),
                float("nan"),
                "",
            ]
        )
    if way < 0.6:
        return odd_text(rng)
    if way < 0.8:
        return [odd_value(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {odd_text(rng): odd_value(rng, depth - 1) for _ in range(rng.randrange(4))}


def odd_text(rng: random.Random) -> str:
    """Return a text that a name, a path or a template may be."""
    return rng.choice(_TEXTS)


_TEXTS = (
    "", " ", "x", "lora", "movies", "minilm", "demo", "all", "top-4", "name", "method", "config", "active", "off", "~",
    "../../etc/passwd", "/dev/zero", "http://evil", "a\x1b[2Jb", "a\u202eb", "a\nb", "a\tb", "é", "x" * 3000, "a.b.c",
    "{{ title }}", "{{ 'a'|center(3000000000) }}", "{% for a in range(99999) %}{% endfor %}", "{{", "__class__", "nf4",
    "0x1f", "010", "1e-3", "nan", "[/bar]", "%s", "$HOME", "-", "--help", "\ufeff", "tensorboard",
)  # fmt: skip
