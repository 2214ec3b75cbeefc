"""YAML of recipes: read safely, overridden by dotted fields, merged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.recipe.yaml_file import (
    MAX_BYTES,
    apply_override,
    dump_yaml,
    merge,
    parse_override,
    parse_yaml,
    read_yaml,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b=1e-3", ("a.b", 0.001)),
        ("a=1E5", ("a", 100000.0)),
        ("a=3", ("a", 3)),
        ("a=-0.5", ("a", -0.5)),
        ("a=true", ("a", True)),
        ("a=false", ("a", False)),
        ("a=null", ("a", None)),
        ("a=", ("a", None)),
        ("a=[1, two, 3.5]", ("a", [1, "two", 3.5])),
        ("a={b: 1}", ("a", {"b": 1})),
        ("a=some text", ("a", "some text")),
        ("a='true'", ("a", "true")),
        ("a=nan", ("a", "nan")),
        ("a=/path/to=it", ("a", "/path/to=it")),
        (" a.b = 2", ("a.b", 2)),
        ("a={{ title }} ({{ year }})", ("a", "{{ title }} ({{ year }})")),
        ("a={% if x %}y{% endif %}", ("a", "{% if x %}y{% endif %}")),
    ],
)
def test_override_is_a_dotted_field_and_a_yaml_value(text: str, expected: tuple[str, Any]) -> None:
    found = parse_override(text)
    assert found == expected
    assert type(found[1]) is type(expected[1])


@pytest.mark.parametrize("text", ["epochs", "=3", "a..b=1", ".a=1", "a.=1", ""])
def test_override_without_field_or_value_says_how_to_write_it(text: str) -> None:
    with pytest.raises(InputError, match=r"write it as field=value, such as training\.epochs=3"):
        parse_override(text)


def test_unreadable_override_value_names_the_field() -> None:
    with pytest.raises(InputError, match=r"--set a\.b, line 1, column \d+: unreadable YAML"):
        parse_override("a.b=[1, 2")


def test_quoted_number_stays_text() -> None:
    assert parse_override("data.path='2024'") == ("data.path", "2024")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", "line 3"),
        ("a: 1\n\tb: 2\n", "line 2"),
        ("a: 1\nb: 'open\n", "line 3"),
        ("a: 1\na b\n", "line 3"),
        ("a: !!python/object/apply:os.system ['true']\n", "line 1"),
        ("a: 1\n---\nb: 2\n", "line 2"),
    ],
)
def test_unreadable_yaml_names_file_line_and_column(tmp_path: Path, text: str, place: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"{path}, {place}, column ")
    assert "unreadable YAML" in str(caught.value)


def test_aliases_are_refused_before_they_can_grow() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    with pytest.raises(InputError, match=r"line 2, column 10: unreadable YAML \(aliases are not allowed\)"):
        parse_yaml("\n".join(lines), "bomb.yaml")


@pytest.mark.parametrize("text", ["[" * 3000, "a: \x00", "? [1, 2]\n: 3"], ids=["deep", "nul", "key"])
def test_yaml_that_no_recipe_holds_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError, match="unreadable YAML") as caught:
        parse_yaml(text, "x.yaml")
    assert "\n" not in str(caught.value)


def test_file_over_a_mebibyte_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    path.write_bytes(b"a: 1\n" + b"#" * MAX_BYTES)
    with pytest.raises(InputError, match=r"big\.yaml: over 1048576 bytes"):
        read_yaml(path)
    path.write_bytes(b"a: 1\n".ljust(MAX_BYTES, b"#"))
    assert isinstance(read_yaml(path), dict)


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("name: café\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.yaml, line 1: unreadable YAML \(not UTF-8 text\)"):
        read_yaml(path)


def test_absent_file_and_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.yaml"):
        with pytest.raises(InputError, match=path.name):
            read_yaml(path)


def test_written_values_read_back_equal_in_their_order() -> None:
    values = {"b": [1, 0.001, 1e-30, None], "a": {"text": "yes", "é": "a: b # c\n  d"}, "c": "1e-3"}
    text = dump_yaml(values)
    again = parse_yaml(text, "")
    assert again == values
    assert list(again) == ["b", "a", "c"]


def test_override_makes_blocks_on_its_way_but_not_inside_values() -> None:
    values: dict[str, Any] = {"a": {"b": 1}, "off": False}
    apply_override(values, "a.c.d", 2)
    apply_override(values, "off.x", 3)
    assert values == {"a": {"b": 1, "c": {"d": 2}}, "off": {"x": 3}}
    with pytest.raises(InputError, match=r"--set a\.b\.c: 'b' is a single value"):
        apply_override(values, "a.b.c", 1)


def test_merge_lays_one_tree_over_another_and_changes_neither() -> None:
    base = {"a": {"x": 1, "y": {"z": 2}}, "b": [1, 2], "c": 3}
    over = {"a": {"y": {"w": 4}}, "b": [5], "c": None, "d": {"e": 6}}
    merged = merge(base, over)
    assert merged == {"a": {"x": 1, "y": {"z": 2, "w": 4}}, "b": [5], "c": None, "d": {"e": 6}}
    merged["a"]["y"]["z"] = merged["d"]["e"] = 9
    assert base["a"]["y"] == {"z": 2}  # type: ignore[index]
    assert over["d"] == {"e": 6}


def test_a_key_that_stands_twice_is_refused_with_its_line() -> None:
    with pytest.raises(InputError, match=r"line 2.*'seed' stands twice"):
        parse_yaml("seed: 1\nseed: 2\n", "recipe.yaml")
