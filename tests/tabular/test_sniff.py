"""Forms are guessed from what files hold, with evidence; what is unsure is said."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.tabular.form import FileForm
from llmrec_peft.tabular.read import read_table
from llmrec_peft.tabular.sniff import Sniffed, sniffed


def _sniffed(folder: Path, content: str | bytes, given: dict[str, Any] | None = None) -> Sniffed:
    path = folder / "table"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    found = sniffed(path, given)
    assert sniffed(path, given) == found, "the same file gives the same guesses"
    fields = set(FileForm.model_fields) - set(given or {})
    assert set(found.evidence) <= fields and set(found.unsure) <= set(found.evidence)
    assert all(text.isprintable() and "\n" not in text and not text.endswith(".") for text in found.evidence.values())
    read = read_table(path, found.form)
    assert read.table.slice(0, len(found.sample)).equals(found.sample)
    return found


def _plain(found: Sniffed, *fields: str) -> list[Any]:
    return [getattr(found.form, field) for field in fields]


REAL: dict[str, tuple[dict[str, Any], int, tuple[str, ...]]] = {
    "ml-100k/u.data": ({"delimiter": "\t", "header": False}, 100_000, ()),
    "ml-100k/u.item": ({"delimiter": "|", "encoding": "latin-1", "header": False}, 1682, ("encoding",)),
    "ml-100k/u.user": ({"delimiter": "|", "header": False}, 943, ()),
    "ml-100k/u.genre": ({"delimiter": "|", "header": False}, 19, ()),
    "ml-100k-kg/ml-100k.kg": ({"delimiter": "\t"}, 91_631, ()),
    "steam-200k/steam-200k.csv.gz": ({"compression": "gzip", "header": False, "quote": '"'}, 200_000, ()),
    "lastfm-hetrec/user_artists.dat": ({"delimiter": "\t"}, 92_834, ()),
    "lastfm-hetrec/artists.dat": ({"delimiter": "\t", "quote": "none", "encoding": "utf-8"}, 17_632, ()),
    "lastfm-hetrec/tags.dat": ({"delimiter": "\t", "encoding": "latin-1"}, 11_946, ("encoding",)),
    "filmtrust/ratings.txt": ({"delimiter": " ", "header": False}, 35_497, ()),
    "microlens-sample/MicroLens-100k_pairs.csv": ({"delimiter": ","}, 14_628, ()),
    "microlens-sample/MicroLens-100k_title_en.csv": ({"delimiter": ",", "header": False}, 19_738, ()),
    "mind-sample/behaviors.tsv": ({"delimiter": "\t", "header": False}, 5000, ()),
    "mind-sample/news.tsv": ({"delimiter": "\t", "header": False, "quote": "none"}, 2000, ()),
    "iisan-scientific/Industrial_and_Scientific_items.tsv": ({"delimiter": "\t", "header": False}, 20_825, ("header",)),
    "collm-ml-1m/item_titles.csv": ({"delimiter": ",", "quote": '"'}, 3256, ()),
    "collm-ml-1m/test.jsonl": ({"format": "json-lines"}, 7331, ()),
    "amazon-magazines/Magazine_Subscriptions_5.json.gz": ({"format": "json-lines", "compression": "gzip"}, 2375, ()),
    "tallrec-movie/test.json": ({"format": "json"}, 1000, ()),
    "minionerec/Office_Products.test.csv.gz": ({"compression": "gzip", "quote": '"'}, 4866, ()),
    "minionerec/Office_Products.index.json.gz": ({"format": "json"}, 3459, ()),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files_are_read_without_a_word_about_their_form(name: str, shared_data: Path) -> None:
    fields, rows, unsure = REAL[name]
    found = sniffed(shared_data / name)
    assert {field: getattr(found.form, field) for field in fields} == fields
    assert found.unsure == unsure
    table = read_table(shared_data / name, found.form).table
    assert len(table) == rows
    assert table.slice(0, len(found.sample)).equals(found.sample)


def test_a_strangers_file_with_semicolons_a_byte_order_mark_quoted_line_breaks_and_leading_zeros(
    tmp_path: Path,
) -> None:
    rows = "".join(f'00{row};"Titel {row}\nmit ""Umbruch""; und mehr";{row % 5},5\r\n' for row in range(50))
    found = _sniffed(tmp_path, b"\xef\xbb\xbf" + ("Nr;Titel;Wertung\r\n" + rows).encode())
    assert _plain(found, "delimiter", "quote", "encoding", "header", "decimal") == [";", '"', "utf-8", True, ","]
    assert found.unsure == ()
    assert found.sample.slice(1, 1).to_pylist() == [
        {"Nr": "001", "Titel": 'Titel 1\nmit "Umbruch"; und mehr', "Wertung": "1,5"}
    ]
    assert "byte order mark" in found.evidence["encoding"] and "'1,5'" not in found.evidence["delimiter"]


@pytest.mark.parametrize(
    ("content", "fields"),
    [
        ("1::2::5::978300760\n1::3::4::978302109\n", {"delimiter": "::", "header": False}),
        ("a  12   3\n b 4 5\n", {"delimiter": "spaces", "header": False}),
        ("user\titem name\n1\tA, B\n2\tC\n", {"delimiter": "\t", "header": True}),
        ("u1\x01i1\nu2\x01i9\n", {"delimiter": "\x01"}),
        ("id,genres\n1,a|b|c\n2,a|b\n3,d\n", {"delimiter": ",", "header": True}),
        ("id;price\n1;2,50\n2;3,10\n", {"delimiter": ";", "decimal": ","}),
        ("user,when\n1,2015-01-02 10:00:00\n2,2015-01-03 11:00:00\n", {"delimiter": ","}),
        ("1,First, a film\n2,Second\n3,Third, and last, too\n", {"delimiter": ",", "rest": True, "header": False}),
        ("id,name\n1,'it''s'\n2,'b, c'\n", {"quote": "'"}),
        ('id\tname\n1\t"Weird Al" Yankovic\n2\tAbba\n', {"quote": "none", "delimiter": "\t"}),
        ("a\rb\rc\r", {"header": False}),
        ("user,item\r1,2\r3,4\r", {"delimiter": ","}),
        ('[{"a": 1}, {"a": 2}]', {"format": "json"}),
        ('{"a": 1}\n{"a": 2}\n', {"format": "json-lines"}),
        ('{"x": {"a": 1},\n "y": {"a": 2}}', {"format": "json"}),
    ],
)
def test_forms_are_told_apart(content: str, fields: dict[str, Any], tmp_path: Path) -> None:
    found = _sniffed(tmp_path, content)
    assert {field: getattr(found.form, field) for field in fields} == fields


@pytest.mark.parametrize(
    ("rows", "header"),
    [
        ("user,item\n1,2\n3,4", True),
        ("7,2\n1,2\n3,4", False),
        ("N7,news\nN1,sports\nN3,news", False),
        ("code,kind\nN1,sports\nN3,news", True),
        ("item_id:token,title:token_seq\na,b\nc,d", True),
        ("alpha,beta\nalpha,gamma\ndelta,beta", False),
        ("asin,words\nzz,some\nyy,more", True),
    ],
)
def test_a_header_is_told_by_names_and_by_what_stands_below(rows: str, header: bool, tmp_path: Path) -> None:
    found = _sniffed(tmp_path, rows + "\n")
    assert found.form.header is header
    assert found.form.columns == (None if header else ("column_1", "column_2"))


def test_older_encodings_are_guessed_and_shown_by_a_word(tmp_path: Path) -> None:
    chinese = "".join(f"{row},《红楼梦》是中国古典小说的代表作品，作者曹雪芹{row}\n" for row in range(40))
    found = _sniffed(tmp_path, ("编号,标题\n" + chinese).encode("gb18030"))
    assert found.form.encoding == "gb18030" and "encoding" not in found.unsure
    assert "common Chinese characters" in found.evidence["encoding"]
    western = _sniffed(tmp_path, "id,title\n1,Amélie\n2,Der Schuh des Manitu\n".encode("latin-1"))
    assert western.form.encoding == "latin-1" and "encoding" in western.unsure
    assert "'Amélie'" in western.evidence["encoding"]
    windows = _sniffed(tmp_path, "id,title\n1,“Amélie”\n".encode("cp1252"))
    assert windows.form.encoding == "cp1252" and "encoding" in windows.unsure
    korean = _sniffed(tmp_path, ("id,title\n" + "1,한국어 영화 제목\n" * 20).encode("euc_kr"))
    assert "encoding" in korean.unsure and "euc_kr" in korean.evidence["encoding"]
    russian = _sniffed(tmp_path, ("id,title\n" + "1,Преступление и наказание\n" * 20).encode("cp1251"))
    assert "encoding" in russian.unsure
    wide = _sniffed(tmp_path, "id,title\n1,Amélie\n".encode("utf-16"))
    assert wide.form.encoding == "utf-16" and wide.unsure == ()


def test_an_encoding_that_cannot_be_guessed_is_asked_for(tmp_path: Path) -> None:
    content = ("user,title\n" + "1,ハリーポッターと賢者の石\n" * 20).encode("shift_jis")
    with pytest.raises(InputError, match=r"its encoding cannot be guessed: name it \(option encoding\)"):
        _sniffed(tmp_path, content)
    named = _sniffed(tmp_path, content, {"encoding": "shift_jis"})
    assert named.sample["title"][0].as_py() == "ハリーポッターと賢者の石"


def test_the_line_that_excel_reads_first_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its first line 'sep=;' is for Excel: remove it"):
        _sniffed(tmp_path, "sep=;\nuser;item\n1;2\n")


def test_a_few_mistakes_in_quoted_cells_do_not_take_the_quotation_away(tmp_path: Path) -> None:
    rows = "".join(f'"{row}";"Title "{row}" b"\n' if row == 70 else f'"{row}";"Title; {row}"\n' for row in range(100))
    (tmp_path / "table").write_text('"ISBN";"Book"\n' + rows)
    found = sniffed(tmp_path / "table")
    assert found.form.quote == '"' and "quote" in found.unsure
    assert len(read_table(tmp_path / "table", found.form, skip_bad=1).table) in (99, 100)


def test_a_letter_of_another_encoding_late_in_a_file_is_seen(tmp_path: Path) -> None:
    rows = "".join(f"{row},title\n" for row in range(300_000))
    path = tmp_path / "table"
    for packed in (False, True):
        content = f"id,title\n{rows}".encode() + b"9,Am\xe9lie\n" * 30_000
        path.write_bytes(gzip.compress(content, 1) if packed else content)
        assert sniffed(path).form.encoding == "latin-1"


def test_what_is_given_is_not_guessed(tmp_path: Path) -> None:
    given = {"delimiter": "|", "header": False, "columns": ("a", "b"), "encoding": "latin-1", "quote": "none"}
    found = _sniffed(tmp_path, "user|item,x\n1|2,y\n", given)
    assert _plain(found, *given) == list(given.values())
    assert found.unsure == () and not set(given) & set(found.evidence)


def test_parquet_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    table = pa.table({"user": [7, 8], "tags": [["a"], []], "kind": pa.array(["x", "x"]).dictionary_encode()})
    pq.write_table(table, tmp_path / "table.csv")
    found = sniffed(tmp_path / "table.csv")
    assert found.form.format == "parquet"
    assert found.sample.to_pydict() == {"user": ["7", "8"], "tags": [["a"], []], "kind": ["x", "x"]}
