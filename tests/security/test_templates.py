"""A stranger's template can name columns and loop over them; it cannot compute without bound."""

from __future__ import annotations

import resource
import threading
import time
from typing import Any

import numpy as np
import pytest

from llmrec_peft.data.views import ViewTemplate
from llmrec_peft.errors import InputError
from llmrec_peft.recipe.templates import compiled

ROW: dict[str, Any] = {
    "item_id": "B001",
    "title": "Heat",
    "year": None,
    "genres": ["Crime", None, "Drama"],
    "price": float("nan"),
    "plot": "A long night. " * 50,
}
HISTORY = [
    {"item_id": str(at), "title": f"Film {at}", "liked": at % 2 == 0, "rating": at % 5 + 1} for at in range(1000)
]

REFUSED_UNREAD = {
    "a constant that would be folded": "{{ 'a'|center(3000000000) }}",
    "a format that would be folded": "{{ '%3000000000d'|format(1) }}",
    "indent": "{{ title|indent(2000000000) }}",
    "lipsum": "{{ title|lipsum }}",
    "batch": "{{ genres|batch(3, title) }}",
    "include": "{% include '/etc/passwd' %}",
    "import": "{% import 'x' as y %}",
    "extends": "{% extends 'x' %}",
    "a recursive macro": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "a block": "{% block b %}{% endblock %}",
    "a call block": "{% call title() %}{% endcall %}",
    "a filter block": "{% filter upper %}x{% endfilter %}",
    "a recursive loop": "{% for g in genres recursive %}{{ loop(genres) }}{% endfor %}",
    "a power": "{{ 9 ** 9 ** 9 }}",
    "namespaces": "{% set ns.n = 1 %}",
    "25 nested loops": "{% for a in genres %}" * 25 + "{% endfor %}" * 25,
    "25 nested conditions": "{% if title %}" * 25 + "{% endif %}" * 25,
    "a long number": "{{ " + "9" * 5000 + " }}",
    "a long hexadecimal number": "{{ 0x" + "f" * 5000 + " }}",
    "an infinite number": "{{ 1e999 }}",
    "half a character": "{{ '\\ud800' }}",
    "half a character as it is": "\ud800",
    "deep brackets": "{{ " + "(" * 3000 + "title" + ")" * 3000 + " }}",
    "a chain of filters": "{{ title" + "|lower" * 1500 + " }}",
    "a long source": "x" * 10_001,
    "lists inside lists": "{{ [[1, 2], [3]] }}",
    "ljust": "{{ title.ljust(2000000000) }}",
    "format of a text": "{{ '{:>2000000000}'.format(1) }}",
    "lipsum as a function": "{{ lipsum(n=100000) }}",
    "a method that changes": "{{ genres.append(1) }}",
    "private names": "{{ title.__class__ }}",
    "the template itself": "{{ self.title }}",
}
REFUSED_IN_USE = {
    "a product": "{{ 'a' * 1000000000 }}",
    "a large range": "{{ range(1000000000) }}",
    "loops inside loops": "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
    "a long loop over histories": "{% for a in history %}{% for b in history %}{{ a.title }}{% endfor %}{% endfor %}",
    "doubling": "{% set t = title ~ title %}" + "{% set t = t ~ t %}" * 40 + "{{ t|length }}",
    "doubled lists": "{% set t = [1] %}" + "{% set t = [t, t] %}" * 40 + "{{ t }}",
    "added lists": "{% set t = [1] %}" + "{% set t = t + t %}" * 40 + "{{ t|length }}",
    "growth by replace": "{{ title" + "|replace('e', 'eeeeeeeeee')" * 12 + " }}",
    "growth by an empty replace": "{{ plot" + "|replace('', 'bbbbbbbbbb')" * 8 + " }}",
    "growth by join": "{{ plot" + "|join(plot)" * 4 + " }}",
    "text inside a loop": "{% for a in history %}" + "x" * 9000 + "{% endfor %}",
    "long numbers": "{{ " + "999999999999 * " * 30 + "1 }}",
    "rounding to a billion places": "{{ 1.5|round(1000000000, 'floor') }}",
    "a method that is not called": "{{ title.upper }}",
    "the loop itself": "{% for g in genres %}{{ loop }}{% endfor %}",
}


@pytest.mark.parametrize("source", REFUSED_UNREAD.values(), ids=REFUSED_UNREAD)
def test_a_template_that_computes_is_refused_when_it_is_read(source: str) -> None:
    refused_in_one_line(lambda: ViewTemplate(source))


@pytest.mark.parametrize("source", REFUSED_IN_USE.values(), ids=REFUSED_IN_USE)
def test_a_template_that_grows_is_refused_when_it_is_used(source: str) -> None:
    template = ViewTemplate(source)
    refused_in_one_line(lambda: template.render({**ROW, "history": HISTORY}))


def refused_in_one_line(use: Any) -> None:
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(InputError, match=r"^views\.item\.template: ") as refused:
        use()
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 700
    assert time.process_time() - began < 2.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # KiB


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ title }} ({{ year }})", "Heat ()"),
        ("{{ genres | join(', ') }}", "Crime, Drama"),
        ("{{ genres }}", "['Crime', 'Drama']"),
        ("{{ title ~ year ~ price }}", "Heat"),
        ("{{ year | lower }}{{ price | round }}{{ year | string }}", ""),
        ("{{ year | default('no year') }}", "no year"),
        ("{{ title | default('none') | upper }}", "HEAT"),
        ("{% if year %}of {{ year }}{% else %}undated{% endif %}", "undated"),
        ("{{ title[:2] }} {{ genres[0] }} {{ genres | first }} {{ genres | length }}", "He Crime Crime 3"),
        ("{{ plot | truncate(20) }}", "A long night. A..."),
        ("{{ 'a,b'.split(',') | join(' ') }} {{ title.lower() }} {{ title.startswith('H') }}", "a b heat True"),
        ("{% set t = title | upper %}{{ t }} {{ 3.14159 | round(2) }} {{ '12' | int + 1 }}", "HEAT 3.14 13"),
        (
            "{% for g in genres if g %}{{ loop.index }} {{ g }}{{ ', ' if not loop.last }}{% endfor %}",
            "1 Crime, 2 Drama",
        ),
        ("{{ history | selectattr('rating', '>=', 5) | map(attribute='title') | list | length }}", "200"),
        ("{{ history | selectattr('liked') | map(attribute='title') | first }}", "Film 0"),
        ("{% for a, b in history[0].items() %}{{ a }} {% endfor %}", "item_id title liked rating"),
        ("{{ 'yes' if 'Crime' in genres and title is string else 'no' }}", "yes"),
        ("{{ 'x' if title != 'Heat' }}{{ 7 // 2 }} {{ 7 % 2 }} {{ 2 * 3 }} {{ 1 + 1 }}", "3 1 6 2"),
        ("{{ numbers | join('-') }} {{ numbers | sum }}", "1-2 3"),
    ],
)
def test_what_people_write_is_rendered(source: str, text: str) -> None:
    row = {**ROW, "history": HISTORY, "numbers": np.array([1, 2])}
    template = ViewTemplate(source)
    assert template.render(row) == text
    assert template.render_all([row, row]) == [text, text]


def test_no_missing_value_is_ever_the_word_none() -> None:
    columns = (
        "{{ a }}{{ a ~ b }}{{ [a, b] }}{{ [a, b] | join }}{{ a | title }}{{ a | trim }}{{ b | abs }}{{ b | float }}"
    )
    assert ViewTemplate(columns).render({"a": None, "b": float("nan")}) == "[]"


def test_error_names_the_item_the_column_and_its_value() -> None:
    rows = [{"item_id": "a", "year": 1995}, {"item_id": "b", "year": None}]
    with pytest.raises(InputError) as refused:
        ViewTemplate("{{ year + 1 }}", "views.item.variants.2").render_all(rows)
    assert str(refused.value) == (
        "views.item.variants.2: item 'b': the template failed at year=None: None is no number"
    )
    with pytest.raises(InputError, match=r"^views\.prompt\.template: item '7': 'dict object' has no attribute 'titel'"):
        ViewTemplate("{{ item.titel }}", "views.prompt.template").render({"item": {"item_id": "7", "title": "x"}})


def test_half_a_character_in_the_data_does_not_reach_the_tokenizer() -> None:
    row = {"title": "Up \ud83d", "plot": "caf\u00e9 \U0001f600"}
    assert ViewTemplate("{{ title }}. {{ plot }}").render(row) == "Up \ufffd. caf\u00e9 \U0001f600"


def test_nothing_is_computed_when_a_template_is_compiled() -> None:
    generated = compiled("{{ 'abc' | upper }}{{ 1 + 1 }}")
    assert "ABC" not in str(generated.template.root_render_func.__code__.co_consts)


def test_a_long_text_is_kept_whole_and_one_without_end_is_refused() -> None:
    assert len(ViewTemplate("{{ plot }}").render({"plot": "x" * 200_000})) == 200_000
    with pytest.raises(InputError, match="more than 1,000,000 characters"):
        ViewTemplate("{{ plot }}").render({"plot": "x" * 1_000_001})


def test_threads_share_a_template_but_no_budget() -> None:
    template, texts = ViewTemplate("{% for h in history %}{{ h.title }} {% endfor %}"), list[str]()

    def render() -> None:
        for _ in range(20):
            texts.append(template.render({"history": HISTORY[:300]}))

    threads = [threading.Thread(target=render) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts) == 80
    assert len(set(texts)) == 1
