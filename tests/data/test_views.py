"""ViewTemplate: columns become text, inside Jinja2's sandbox."""

from __future__ import annotations

import pytest

from llmrec_peft.data.views import ViewTemplate
from llmrec_peft.errors import InputError


def test_columns_become_one_line_of_text() -> None:
    template = ViewTemplate("{{ title }}\n{% if year %}  ({{ year }}){% endif %}.\t{{ genres | join(', ') }}")
    assert template.render({"title": "Heat", "year": 1995, "genres": ["Action", "Crime"]}) == (
        "Heat (1995). Action, Crime"
    )
    assert template.render({"title": "Heat", "year": None, "genres": []}) == "Heat ."


def test_rows_are_rendered_in_order_and_nothing_is_escaped() -> None:
    rows = [{"title": "Tom & <Jerry>"}, {"title": "Émile"}]
    assert ViewTemplate("{{ title }}").render_all(rows) == ["Tom & <Jerry>", "Émile"]


def test_unknown_column_names_it_and_the_columns_there_are() -> None:
    with pytest.raises(InputError, match=r"'titel' is undefined; the columns are title, year"):
        ViewTemplate("{{ titel }}").render({"year": 1, "title": "x"})


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ title.__class__.__base__.__subclasses__() }}",
        "{{ ''|attr('__class__') }}",
        "{{ self.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ '{0.__class__.__mro__}'.format(title) }}",
        "{% do genres.append(1) %}",
        "{{ genres.append(1) }}",
    ],
)
def test_a_strangers_template_cannot_leave_the_sandbox(template: str) -> None:
    genres = ["Action"]
    with pytest.raises(InputError, match=r"^views\.item\.template: "):
        ViewTemplate(template).render({"title": "x", "genres": genres})
    assert genres == ["Action"]


@pytest.mark.parametrize("template", ["{{ title + 1 }}", "{% for n in range(10000000) %}x{% endfor %}", "{{ 1 // 0 }}"])
def test_template_that_fails_says_so_in_one_line(template: str) -> None:
    with pytest.raises(InputError, match=r"^views\.item\.template: the template failed") as caught:
        ViewTemplate(template).render({"title": "x"})
    assert "\n" not in str(caught.value)


def test_syntax_error_names_its_line() -> None:
    with pytest.raises(InputError, match=r"views\.item\.template: line 3 of the template: "):
        ViewTemplate("{{ title }}\n\n{% if %}")


def test_unknown_filter_is_refused_when_compiled() -> None:
    with pytest.raises(InputError, match=r"views\.item\.template: line 1 of the template: .*shout"):
        ViewTemplate("{{ title | shout }}")


def test_a_product_that_would_fill_memory_is_refused() -> None:
    with pytest.raises(InputError, match="has no need of"):
        ViewTemplate("{{ 'a' * 10000000000 }}").render({"title": "Heat"})
