"""The form of a table file: format, compression, delimiter, quotation, encoding, header."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from llmrec_peft.options import Options
from llmrec_peft.printable import quoted

Format = Literal["delimited", "json-lines", "json", "parquet"]
Compression = Literal["none", "gzip", "bz2", "xz", "zstd", "zip"]

SPACES = "spaces"
"""The delimiter that is one or more blanks or tabs."""
ENCODINGS = (
    *("utf-8", "utf-16", "latin-1", "cp1252", "iso8859-15", "cp1250", "iso8859-2", "cp1251", "koi8-r", "cp1253"),
    *("cp1254", "gb18030", "gbk", "gb2312", "big5", "shift_jis", "cp932", "euc_jp", "euc_kr", "cp949"),
)
"""Encodings that are read, by Python's names; in all but UTF-16 the byte of a line end is nothing else."""
_LINE_ENDS = "\r\n"
MOST_COLUMNS = 10_000
"""Columns of a table; a line with more is no row."""


def repeated(names: Iterable[str]) -> str | None:
    """Return the first name that stands twice; None if none does.

    >>> repeated(["user", "item", "user"])
    'user'
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


class FileForm(Options):
    """How one table file is written."""

    format: Format = "delimited"
    """Text with delimiters, one JSON object a line, one JSON array (or object) of objects, or Parquet."""
    compression: Compression = "none"
    """How the file is packed; a zip archive has one member."""
    delimiter: str = Field(default=",", min_length=1, max_length=6)
    """What separates cells: one character, ``::``, or ``spaces`` for one or more blanks or tabs."""
    quote: Literal['"', "'", "none"] = '"'
    """What encloses cells that contain delimiters or line breaks, doubled inside of them; ``none``: nothing does."""
    escape: Literal["none", "backslash"] = "none"
    """Whether a mark inside of a quoted cell is doubled (`none`) or has a backslash before it (`backslash`), as MySQL
    and Spark write it."""
    encoding: str = "utf-8"
    """Encoding of the text; a byte order mark is dropped."""
    header: bool = True
    """Whether the first line names the columns."""
    columns: tuple[str, ...] | None = Field(default=None, min_length=1, max_length=MOST_COLUMNS)
    """Names of all columns in their order, in place of the header's; of JSON and Parquet, the columns that are read."""
    rest: bool = False
    """Whether delimiters after the last column belong to its text: titles with commas and without quotation marks."""
    decimal: Literal[".", ","] = "."
    """What separates the decimals of numbers."""

    @field_validator("delimiter")
    @classmethod
    def _a_delimiter(cls, value: str) -> str:
        if value in ("::", SPACES):
            return value
        if len(value) != 1 or value in _LINE_ENDS or value in "\"'\0\x1e\x1f" or value.isalnum():
            raise ValueError(f"{quoted(value)} is no delimiter: one character such as , ; or a tab, '::', or 'spaces'")
        return value

    @field_validator("encoding")
    @classmethod
    def _an_encoding(cls, value: str) -> str:
        try:
            name = codecs.lookup(value).name
        except (LookupError, ValueError):
            name = ""
        known = {codecs.lookup(known).name: known for known in (*ENCODINGS, "utf-8-sig", "ascii")}
        if name not in known:
            raise ValueError(f"{quoted(value)} is no encoding that is read here; there are {', '.join(ENCODINGS)}")
        return "utf-8" if known[name] in ("utf-8-sig", "ascii") else known[name]

    @field_validator("columns")
    @classmethod
    def _distinct_names(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        names = value or ()
        if any(not name.strip() for name in names):
            raise ValueError("a column has no name")
        if (twice := repeated(names)) is not None:
            raise ValueError(f"two columns are called {quoted(twice)}")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.format != "delimited":
            return self
        if self.delimiter == SPACES and self.quote != "none":
            raise ValueError("cells that are separated by any number of blanks have no quotation: quote: none")
        if self.escape != "none" and (self.quote == "none" or len(self.delimiter) != 1 or not self.delimiter.isascii()):
            raise ValueError("escape is for files with quotation and a delimiter of one character of ASCII")
        if self.rest and self.quote != "none":
            raise ValueError("rest is for files without quotation: quote: none")
        if not self.header and self.columns is None:
            raise ValueError("a file without a header needs the names of its columns: columns")
        return self
