"""Hostile text templates: grammar that computes, nests, doubles and names what no column is, over odd rows."""

from __future__ import annotations

import random
import resource
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from fuzz.harness import Attempt
from llmrec_peft.data.views import ViewTemplate
from llmrec_peft.recipe.template_filters import FILTERS, TESTS

_ROOM_KIB = 400 * 1024
"""Memory that one template may take beyond what the process took before."""
_TAME = {
    "names": "title year genres history item user price".split(),
    "filters": sorted(FILTERS),
    "methods": "lower upper split replace startswith items get strip title".split(),
    "literals": "'a' 'a-b' '' 0 1 -1 2.5 99 true none [] [1,2]".split(" "),
    "operators": "~ + - * / // % == != < > and or in".split(),
    "tests": sorted(TESTS),
    "functions": ["range"],
}
"""Words that compile, so that what they make of odd rows is tried too."""
_NAMES = (
    "title year genres history item user loop self range lipsum cycler namespace joiner dict None true caller super"
    " price x _x __import__ ns varargs"
).split()
_FILTERS = (
    "lower upper title trim replace truncate join first last length round int float abs default sort unique reverse"
    " list map select selectattr rejectattr sum min max string center indent format batch xmlattr tojson pprint"
    " wordwrap attr urlize slice groupby random safe nope"
).split()
_METHODS = "lower split replace ljust center format zfill encode items get append pop strip __class__ mro cycle".split()
_LITERALS = (
    "'a' 'a-b' '' 0 1 -1 2.5 1e308 1e999 99999999999 0x1f 1_000 true none [] [1,2] (1,) {} {'a':1} '\\ud800' '\\x1b[2J'"
    " '%999999999d' '{:>99999999}' '\\N{SNOWMAN}' 3000000000"
).split(" ")
_OPERATORS = [*"~ + - * / // % ** == != < > <= >= in and or".split(), "not in", "is", "is not"]
_BAD_TESTS = "defined none string number even divisibleby sameas in callable eq nope".split()

_WILD = {
    "names": _NAMES,
    "filters": _FILTERS,
    "methods": _METHODS,
    "literals": _LITERALS,
    "operators": _OPERATORS,
    "tests": _BAD_TESTS,
    "functions": ["range", "lipsum", "dict", "loop", "cycler"],
}


def attempts(rng: random.Random, folder: Path) -> Iterator[Attempt]:
    """Yield templates, each compiled and rendered over an odd row, as one text and among many."""
    rows = [_row(random.Random(seed)) for seed in range(20)]
    while True:
        words = _TAME if rng.random() < 0.6 else _WILD
        source = _template(rng, words, rng.choice((1, 2, 2, 3)))
        source = source if words is _TAME else _mutated(rng, source)
        row = rng.choice(rows)
        yield Attempt(f"{source[:300]!r} over row {rows.index(row)}", partial(_render, source, row))


def _render(source: str, row: dict[str, Any]) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    template = ViewTemplate(source, "views.item.template")
    try:
        text = template.render(row)
        assert text.isprintable() or "\n" not in text
        text.encode("utf-8")
        assert template.render_all([row]) == [text], "one row is rendered otherwise among many"
        assert len(text) <= 1_000_000
    finally:
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < _ROOM_KIB, f"{grown >> 10} MiB"


def _row(rng: random.Random) -> dict[str, Any]:
    odd: list[Any] = [
        None,
        float("nan"),
        float("inf"),
        "",
        "x" * 2000,
        "Heat \ud83d",
        "a\x1b[2J",
        10**30,
        -1,
        True,
        [],
        [None, 1],
        {},
    ]
    history = [{"item_id": str(at), "title": f"F{at}", "liked": at % 2 == 0, "rating": at} for at in range(60)]
    row: dict[str, Any] = {"item_id": "1", "title": "Heat (1995)", "year": 1995, "genres": ["Crime", "Drama"]}
    row |= {"history": history, "item": {"title": "Heat"}, "user": {"age": 30}, "price": 2.5}
    for name in rng.sample(sorted(row), 3):
        row[name] = rng.choice(odd)
    return row


def _template(rng: random.Random, words: dict[str, list[str]], depth: int) -> str:
    parts = []
    for _ in range(rng.randint(1, 4)):
        kind = rng.random()
        if kind < 0.55:
            parts.append("{{ " + _expression(rng, words, depth + 1) + " }}")
        elif kind < 0.65:
            parts.append(rng.choice(_TEXTS[:3] if words is _TAME else _TEXTS))
        elif kind < 0.75 or depth == 0:
            parts.append("{% set " + rng.choice(words["names"]) + " = " + _expression(rng, words, depth) + " %}")
        elif kind < 0.85:
            inner = _template(rng, words, depth - 1)
            times = 1 if words is _TAME else rng.choice((1, 1, 3, 25))
            loop = (
                "{% for "
                + rng.choice(["x"] if words is _TAME else ["x", "a, b", "title", "loop"])
                + " in "
                + _expression(rng, words, 1)
                + " %}"
            )
            parts.append(loop * times + inner + "{% endfor %}" * times)
        elif kind < 0.93:
            parts.append(
                "{% if " + _expression(rng, words, 1) + " %}" + _template(rng, words, depth - 1) + "{% endif %}"
            )
        elif words is _WILD or rng.random() < 0.2:
            parts.append(rng.choice(_STATEMENTS))
    return "".join(parts)


_TEXTS = ("text ", "\n", "é", "{", "}}", "\u202e", "x" * 500, "\x00", "{# c #}", "\ud800")
_STATEMENTS = (
    "{% include '/etc/passwd' %}",
    "{% import 'x' as y %}",
    "{% extends 'x' %}",
    "{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(1) }}",
    "{% block b %}{{ self.b() }}{% endblock %}",
    "{% call m() %}{% endcall %}",
    "{% filter upper %}x{% endfilter %}",
    "{% set t = title ~ title %}" + "{% set t = t ~ t %}" * 30 + "{{ t }}",
    "{% set t = [1] %}" + "{% set t = [t, t] %}" * 30 + "{{ t }}{{ t == t }}",
    "{% set ns = namespace(n=1) %}{% set ns.n = 2 %}",
    "{% for a in history recursive %}{{ loop(history) }}{% endfor %}",
    "{% for a in history %}" * 3 + "{{ a.title }}" + "{% endfor %}" * 3,
    "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
    "{% raw %}{{ x }}{% endraw %}",
    "{% autoescape true %}{{ title }}{% endautoescape %}",
    "{% with a = title %}{{ a }}{% endwith %}",
    "{% set x %}block{% endset %}{{ x }}",
    "{% trans %}x{% endtrans %}",
    "{{ title" + "|replace('e', 'eeeeeeeeee')" * 12 + " }}",
    "{{ history" + "|list" * 30 + " }}",
    "{{ '" + "x" * 9000 + "' }}",
    "{{ " + "9" * 5000 + " }}",
    "{{ " + "(" * 500 + "1" + ")" * 500 + " }}",
    "{{ " + "-" * 500 + "1 }}",
    "{{ " + "not " * 500 + "1 }}",
)


def _expression(rng: random.Random, words: dict[str, list[str]], depth: int) -> str:
    if depth <= 0 or rng.random() < 0.25:
        return rng.choice(words["names"]) if rng.random() < 0.7 else rng.choice(words["literals"])
    inner, other = _expression(rng, words, depth - 1), _expression(rng, words, 0)
    deeper = _expression(rng, words, depth - 1)
    arguments = ", ".join(_expression(rng, words, 0) for _ in range(rng.randint(0, 2)))
    called = f"({arguments})" if rng.random() < 0.7 else ""
    index = rng.choice(["0", "-1", ":2", "::2", "::-1", "'title'", "99999999999", other])
    forms = {
        f"({inner})|{rng.choice(words['filters'])}{called}": 4,
        f"({inner}).{rng.choice(words['methods'])}{called}": 3,
        f"({inner}) {rng.choice(words['operators'])} ({deeper})": 4,
        f"({inner}) is {rng.choice(words['tests'])}": 1,
        f"({inner})[{index}]": 1,
        f"{inner} if {other} else {deeper}": 1,
        f"{rng.choice(words['functions'])}({other})": 1,
    }
    return rng.choices(list(forms), list(forms.values()))[0]


def _mutated(rng: random.Random, source: str) -> str:
    if rng.random() < 0.8 or not source:
        return source
    at, end = sorted(rng.randrange(len(source) + 1) for _ in range(2))
    return rng.choice(
        (
            source[:at],
            source[at:],
            source[:at] + source[end:],
            source * 3,
            source[:at] + source[at:end] * 5 + source[end:],
        )
    )
