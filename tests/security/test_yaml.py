"""YAML of a stranger's recipe, matrix or ``--set``: plain values or one line; and `validate` reads the recipe alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.recipe import load_recipe
from llmrec_peft.recipe.yaml_file import dump_yaml, parse_override, parse_yaml, read_yaml

ODD = {
    "an integer of nothing": '!!int ""',
    "a float of nothing": '!!float ""',
    "a boolean of a word": "!!bool foo",
    "a time of a word": "!!timestamp foo",
    "a set": "!!set {a, b}",
    "ordered pairs": "!!omap [a: 1]",
    "bytes": "!!binary aGk=",
    "an object": "!!python/object/apply:os.system ['true']",
    "a tag of one's own": "!mine x",
    "a hexadecimal number": "0x" + "f" * 5000,
    "an octal number": "010",
    "a binary number": "0b11",
    "a sexagesimal number": "1:59" + ":59" * 500,
    "a sexagesimal fraction": "1:59.5",
    "digits in groups": "1_000",
    "a control character": '"\\0"',
    "an escape": '"\\e[2J"',
    "half a character": '"\\ud800"',
    "half a character as it is": "\ud800",
    "a number as a name": "{1: a}",
    "nothing as a name": "{: a}",
    "a word that is true as a name": "{on: a}",
    "a list as a name": "{[a]: b}",
    "a name twice": "{a: 1, a: 2}",
    "a tab": "{a: 1,\n\tb: [}",
    "brackets without end": "[" * 100_000,
    "blocks without end": "{a: " * 5000,
    "an alias": "[&a x, *a]",
}


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
def test_an_odd_value_is_one_line_with_its_place(value: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(f"name: x\nseed: {value}\n".encode("utf-8", "surrogatepass"))
    for where, read in ((str(path), lambda: read_yaml(path)), ("--set seed", lambda: parse_override(f"seed={value}"))):
        began = time.process_time()
        with pytest.raises(InputError) as refused:
            read()
        assert str(refused.value).startswith(where)
        assert "line " in str(refused.value)
        assert "\n" not in str(refused.value)
        assert len(str(refused.value)) < 500
        assert time.process_time() - began < 2.0


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2020-01-01", "2020-01-01"),
        ("=", "="),
        ("<<", "<<"),
        ("0o17", "0o17"),
        ("1e-3", "1e-3"),
        ("9" * 30, "9" * 30),
        ("-3", -3),
        ("+1.5e+3", 1500.0),
        (".5", 0.5),
        ("off", False),
        ("~", None),
        ("'010'", "010"),
    ],
)
def test_what_is_no_plain_number_is_text(text: str, value: Any) -> None:
    found = parse_yaml(f"a: {text}", "x")["a"]
    assert found == value
    assert type(found) is type(value)


def test_merged_keys_are_an_unknown_field() -> None:
    with pytest.raises(InputError, match=r"unknown field 'adapter\.<<'"):
        load_recipe("movies", ["adapter={method: lora, <<: {rank: 4}}"])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"name: a\nseed: \xff\n", "line 2: unreadable YAML"),
        ("name: é\n".encode("utf-16"), "unreadable YAML"),
        (b"name: a\n\x00", "line 2: unreadable YAML"),
        (b"a: " + b"[" * 20_000_000, "over 1048576 bytes"),
    ],
    ids=["latin", "utf-16", "nul", "20 MB"],
)
def test_a_file_that_is_no_text_names_itself(content: bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=why) as refused:
        read_yaml(path)
    assert str(path) in str(refused.value)


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: a\n")
    assert read_yaml(path) == {"name": "a"}


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.yaml")
    for path in (tmp_path / "fifo.yaml", tmp_path, Path("/dev/zero"), Path("a\0b.yaml")):
        with pytest.raises(InputError):
            read_yaml(path)


@pytest.mark.parametrize(
    "override",
    [
        "a" + ".b" * 50 + "=1",
        "seed.x=1",
        "heads.0=1",
        "views.item.variants.0.a=x",
        "views=[1]",
        "=",
        "signals.nope=1",
        f"{'x' * 5000}=1",
        "seed=[1, 2]",
        "adapter.rank={a: {b: {c: 1}}}",
        "data.path=[a]",
        "name=" + "x" * 200_000,
    ],
)
def test_a_field_that_is_none_is_one_line(override: str) -> None:
    with pytest.raises(InputError) as refused:
        load_recipe("movies", [override])
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) <= 1000


def test_written_yaml_reads_back_and_steers_no_terminal() -> None:
    values = {"description": "right \u202eto left, \x85 and \u200b nothing", "b": "é", "c": "2020-01-01", "d": "010"}
    text = dump_yaml(values)
    assert text.isascii()
    assert parse_yaml(text, "x") == values
    assert dump_yaml({"b": "é"}) == "b: é\n"


_WATCH = """
import json, os, sys
opened = []
def watch(event, given):
    if event in ("open", "os.listdir", "os.scandir"):
        opened.append(str(given[0]))
sys.addaudithook(watch)
from llmrec_peft.cli.main import main
import typer
opened.clear()
try:
    main(["validate", *sys.argv[1:]])
except SystemExit as done:
    code = done.code
print(json.dumps({"code": code, "opened": opened, "modules": [*sys.path, sys.prefix, sys.base_prefix]}))
"""


def test_validate_reads_the_recipe_and_nothing_else(tmp_path: Path) -> None:
    for name in ("data", "base", "graph"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "recipe.yaml").write_text(
        f"""
name: x
data: {{reader: movies, path: {tmp_path / "data"}, graph: {tmp_path / "graph"}}}
views:
  item: {{template: "{{{{ title }}}}"}}
  user: {{template: "{{{{ user.age }}}}"}}
backbone: {{name: {tmp_path / "base"}, trust_remote_code: true}}
adapter: {{method: lora}}
signals: {{text: {{}}}}
head: {{name: rating}}
"""
    )
    done = subprocess.run(
        [sys.executable, "-c", _WATCH, str(tmp_path / "recipe.yaml")], capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["code"] == 0, done.stderr
    recipe = str(tmp_path / "recipe.yaml")
    assert recipe in told["opened"]
    places = [place for place in told["modules"] if place and not str(tmp_path).startswith(place)]
    others = {path for path in told["opened"] if not any(path.startswith(place) for place in places)}
    assert others <= {recipe, "/dev/null", "."}  # the folder that Python looks through for modules
