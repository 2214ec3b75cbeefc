"""Marks with a backslash before them, as MySQL and Spark write them: told from paths of Windows, and read both ways."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from llmrec_peft.custom.propose import propose
from llmrec_peft.errors import InputError
from llmrec_peft.tabular.delimited import columns_of, read_quickly
from llmrec_peft.tabular.escapes import parsed_blocks
from llmrec_peft.tabular.exact import read_exactly
from llmrec_peft.tabular.form import FileForm
from llmrec_peft.tabular.read import read_table
from llmrec_peft.tabular.sniff import sniffed

FORM = FileForm(escape="backslash")
LETTERS = ("a", "Ü", "\\", '"', ",", "N", " ", "\t", "'")


def _mysql(cell: str) -> str:
    """A cell as SELECT INTO OUTFILE with ENCLOSED BY '"' writes it."""
    return '"' + "".join(f"\\{letter}" if letter in '\\"\n' else letter for letter in cell) + '"'


def _spark(cell: str) -> str:
    """A cell as Spark writes it, in quotation marks only where it has to be."""
    if not any(letter in cell for letter in ',"\n'):
        return cell
    return '"' + cell.replace('"', '\\"') + '"'


def _written(folder: Path, rows: list[tuple[str, str]], write: object = _mysql) -> Path:
    path = folder / "table.csv"
    lines = ["id,title", *(f"{write(one)},{write(other)}" for one, other in rows)]  # type: ignore[operator]
    path.write_bytes(("\n".join(lines) + "\n").encode())
    return path


@pytest.mark.parametrize("seed", range(4))
def test_what_mysql_writes_is_read_by_both_ways(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    rows = [("x" + "".join(draw.choices((*LETTERS, "\n"), k=draw.randint(0, 9))), f'"{at}"') for at in range(300)]
    path = _written(tmp_path, rows)
    assert sniffed(path).form == FORM
    columns = columns_of(path, FORM)
    for table in (
        read_quickly(path, FORM, columns, {}),
        read_exactly(path, FORM, columns, {}, 0, quick_pieces=False).table,
    ):
        assert list(zip(*table.to_pydict().values(), strict=True)) == rows


def test_what_spark_writes_is_read_with_its_backslashes(tmp_path: Path) -> None:
    rows = [("C:\\temp\\", 'He said "no", twice'), ("\\N", "a \\b, c"), ("5", "plain"), ("C:\\", '19" disk')] * 30
    path = _written(tmp_path, rows, _spark)
    found = sniffed(path)
    assert found.form == FORM and found.unsure == ()
    assert '\\"' in found.evidence["escape"]
    columns = columns_of(path, FORM)
    for table in (
        read_quickly(path, FORM, columns, {}),
        read_exactly(path, FORM, columns, {}, 0, quick_pieces=False).table,
    ):
        assert list(zip(*table.to_pydict().values(), strict=True)) == rows


@pytest.mark.parametrize(
    "row",
    [
        '1,"C:\\"\n',
        '1,"C:\\"\n2,"a ""b"", c"\n',
        '1,"a ""b\\"""\n2,"D:\\"\n',
        "1,C:\\\n",
        '1,"a\\b, c"\n',
        '1,"a, b"\n',
    ],
)
def test_backslashes_of_other_files_are_letters(row: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("id,path\n" + row * 50, encoding="utf-8")
    form = sniffed(path).form
    assert form.escape == "none"
    told = read_table(path, form).table["path"].to_pylist()
    assert any("\\" in cell for cell in told) == ("\\" in row)
    assert told[0] == row.splitlines()[0].split(",", 1)[1].removeprefix('"').removesuffix('"').replace('""', '"')


def test_a_backslash_may_be_the_last_letter_of_a_block() -> None:
    text = '"a \\"b\\" \\\\ \\N",C:\\temp\\\\\n"Ü\\\\\\"",\\'.encode()
    whole = b"".join(parsed_blocks([text], FORM))
    assert whole.count(b"\\") > text.count(b"\\")
    for size in (1, 2, 3, 5):
        blocks = [text[at : at + size] for at in range(0, len(text), size)]
        assert b"".join(parsed_blocks(blocks, FORM)) == whole


def test_a_bad_row_is_named_and_an_unclosed_mark_says_what_helps(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('id,title\n1,"a \\"b\\""\n2,"x",y\n3,"c \\"d\n4,e\n', encoding="utf-8")
    with pytest.raises(InputError, match="line 3: 3 columns where 2 are expected"):
        read_table(path, FORM)
    read = read_table(path, FORM, skip_bad=2)
    assert [bad.line for bad in read.bad] == [3, 4] and read.table["title"].to_pylist() == ['a "b"', "e"]
    path.write_text('id,title\n1,"a\\""\n2,b\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"line 2: the quotation mark .* is never closed .*option escape: backslash"):
        read_table(path, FileForm())


@pytest.mark.parametrize("form", [{"quote": "none"}, {"delimiter": "::"}, {"delimiter": "§"}])
def test_an_escape_that_no_parser_reads_is_refused(form: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="escape is for files with quotation"):
        FileForm(escape="backslash", **form)  # type: ignore[arg-type]


def test_the_recipe_says_why_and_a_user_says_otherwise(tmp_path: Path) -> None:
    draw = random.Random(0)
    items = _written(tmp_path, [(str(at), f'Film "{at}", part {at % 3}') for at in range(30)]).rename(
        tmp_path / "films.csv"
    )
    ratings = tmp_path / "ratings.csv"
    rows = [f"{user},{item},{draw.randint(1, 5)}" for user in range(20) for item in draw.sample(range(30), 8)]
    ratings.write_text("\n".join(["user,id,rating", *rows]) + "\n", encoding="utf-8")
    proposal = propose(ratings, items)
    assert 'escape: backslash  # cells of the sample that go on behind \\": 30' in proposal.text
    options = proposal.recipe.data.options
    assert options is not None and options.model_dump()["interactions"]["escape"] == "none"
    given = propose(ratings, items, given={"items.escape": "backslash"}).text
    assert "escape: backslash\n" in given and "go on behind" not in given
