"""Delimited files: the quick way, by pyarrow's parser in blocks; whatever it stumbles over is left to the exact way."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.printable import shown
from llmrec_peft.progress import SILENT, Progress
from llmrec_peft.tabular.escapes import BACKSLASH, BEFORE_LINE_END, is_escaped, parsed_blocks
from llmrec_peft.tabular.form import SPACES, FileForm
from llmrec_peft.tabular.lines import C1, LONGEST_LINE, MARK, byte_parts, numbered_lines, text_of
from llmrec_peft.tabular.records import records
from llmrec_peft.tabular.table_read import require_names
from llmrec_peft.tabular.typed import converted
from llmrec_peft.tabular.unpacked import DamagedFileError, opened

BLOCK = 1 << 22
"""Bytes that are parsed at once."""
_END = "\x1e"
"""Every cell of a row that is put behind the last one: an unclosed quotation mark swallows it."""


class SuspiciousError(Exception):
    """The quick way is not sure of the file; the exact way decides."""


@dataclass(frozen=True)
class Columns:
    """The columns of a file.

    Attributes:
        names: Their names.
        header: The cells of the header; None where there is none.
    """

    names: tuple[str, ...]
    header: tuple[str, ...] | None


def columns_of(path: Path, form: FileForm) -> Columns:
    """Return the columns: as the form names them, else as the header does.

    Raises:
        InputError: If the file is empty, its header is flawed or, where the form has none, does not name every column.
    """
    if not form.header and form.columns is not None:
        return Columns(form.columns, None)
    with opened(path, form.compression) as unpacked:
        try:
            found = list(islice(records(numbered_lines(unpacked, form.encoding), form), 1))
        except (DamagedFileError, UnicodeError) as error:
            raise InputError(f"{shown(path)}, line 1: {reason_of(error)}") from None
    if not found:
        raise InputError(f"{shown(path)}: the file is empty")
    if found[0].flaw:
        raise InputError(f"{shown(path)}, line {found[0].line}: {found[0].flaw}")
    cells = tuple(found[0].cells)
    if form.columns is None:
        names = tuple(cell.strip() for cell in cells)
        require_names(names, path)
        return Columns(names, cells)
    if len(form.columns) != len(cells):
        raise InputError(
            f"{shown(path)}: the header has {len(cells)} columns, and {len(form.columns)} are named (option columns)"
        )
    return Columns(form.columns, cells)


def read_quickly(
    path: Path,
    form: FileForm,
    columns: Columns,
    types: Mapping[str, pa.DataType],
    progress: Progress = SILENT,
) -> pa.Table:
    """Read a delimited file by pyarrow's parser.

    Args:
        path: The file.
        form: Its form.
        columns: Its columns.
        types: Types of columns that are not read as texts.
        progress: Where it is shown how far the reading is.

    Raises:
        SuspiciousError: If anything is not as it should be.
    """
    kinds = [types.get(name, pa.string()) for name in columns.names]
    try:
        with opened(path, form.compression, progress) as unpacked:
            batches = _parsed(unpacked, form, columns, kinds)
    except DamagedFileError as error:
        raise SuspiciousError(str(error)) from None
    read = [pa.chunked_array([batch[at] for batch in batches], kind) for at, kind in enumerate(kinds)]
    return pa.Table.from_arrays(read, names=list(columns.names)).unify_dictionaries()


def parsed_lines(
    lines: bytes, form: FileForm, columns: Columns, kinds: Sequence[pa.DataType]
) -> list[list[pa.Array]] | None:
    """Return whole lines below the header, which begin a record, as batches of columns.

    Returns:
        None if anything is not as it should be, or the last record goes on behind the lines.
    """
    if lines.startswith(codecs.BOM_UTF8):  # inside of a file it is a letter
        return None
    plain = form.model_copy(update={"header": False, "encoding": text_of(form.encoding)})
    try:
        return _parsed([lines], plain, columns, kinds)
    except SuspiciousError:
        return None


def _parsed(
    parts: Iterable[bytes], form: FileForm, columns: Columns, kinds: Sequence[pa.DataType]
) -> list[list[pa.Array]]:
    """Return the batches of columns that pyarrow makes of a file's bytes.

    Raises:
        SuspiciousError: If anything is not as it should be.
    """
    names = columns.names
    batches: list[list[pa.Array]] = []
    kept: list[pa.Array] | None = None  # the last batch, whose last row is the one put behind
    try:
        arrow_blocks = _arrow_blocks(parts, form, len(names))
        blocks = _marked_end(parsed_blocks(arrow_blocks, form) if is_escaped(form) else arrow_blocks, form, len(names))
        for batch in _batches(Blocks(blocks), form, names):
            if kept is not None:
                batches.append(_typed(kept, kinds, form))
            kept = _own(batch.columns, form, columns.header)
    except (pa.ArrowException, UnicodeError) as error:
        raise SuspiciousError(str(error)) from None
    if kept is None or any(column[-1].as_py() != _END for column in kept):
        raise SuspiciousError("the last row")
    batches.append(_typed([column.slice(0, len(column) - 1) for column in kept], kinds, form))
    return batches


def _batches(file: Blocks, form: FileForm, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    places = [str(at) for at in range(len(names))]
    reader = arrow_csv.open_csv(
        pa.PythonFile(file, mode="r"),
        read_options=arrow_csv.ReadOptions(
            use_threads=False, block_size=BLOCK, column_names=places, skip_rows_after_names=int(form.header)
        ),
        parse_options=arrow_csv.ParseOptions(
            delimiter=_parsed_delimiter(form),
            quote_char=False if form.quote == "none" else form.quote,
            newlines_in_values=form.quote != "none",
            escape_char=BACKSLASH if is_escaped(form) else False,
        ),
        convert_options=arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(places, pa.string()), strings_can_be_null=False
        ),
    )
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            return
        if len(batch):
            yield batch


def _typed(columns: list[pa.Array], kinds: Sequence[pa.DataType], form: FileForm) -> list[pa.Array]:
    try:
        return [converted(column, kind, form.decimal) for column, kind in zip(columns, kinds, strict=True)]
    except ValueError as error:
        raise SuspiciousError(str(error)) from None


def _own(columns: Sequence[pa.Array], form: FileForm, header: Sequence[str] | None) -> list[pa.Array]:
    """Return columns with the file's own delimiter in their cells; refuse a header among the rows."""
    own = list(columns)
    if is_marked(form) and form.quote != "none":
        own = [pc.replace_substring(column, MARK, form.delimiter) for column in own]
    if is_escaped(form):
        own = [pc.replace_substring_regex(column, BEFORE_LINE_END, r"\1") for column in own]
    repeats = None
    for column, cell in zip(own, header or (), strict=False):
        same = pc.equal(column, cell)
        repeats = same if repeats is None else pc.and_(repeats, same)
        if not pc.any(repeats).as_py():
            return own
    if repeats is not None:
        raise SuspiciousError("a header among the rows")
    return own


def is_marked(form: FileForm) -> bool:
    """Return whether `MARK` stands for the delimiter."""
    return form.rest or form.delimiter == SPACES or len(form.delimiter) > 1 or not form.delimiter.isascii()


def _parsed_delimiter(form: FileForm) -> str:
    return MARK if is_marked(form) else form.delimiter


class Blocks:
    """A file for pyarrow, made of blocks."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = memoryview(b"")
        self.closed = False

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes; none at the end."""
        if not self._rest:
            self._rest = memoryview(next(self._blocks, b""))
        if len(self._rest) <= size:
            part, self._rest = self._rest, memoryview(b"")
        else:
            part, self._rest = self._rest[:size], self._rest[size:]
        return bytes(part)

    def close(self) -> None:
        """Do nothing: whoever opened the file closes it."""
        self.closed = True

    def readable(self) -> bool:
        """Return that it can be read."""
        return True


def _arrow_blocks(parts: Iterable[bytes], form: FileForm, columns: int) -> Iterator[bytes]:
    """Yield a file's text in UTF-8, with one byte for a delimiter.

    Raises:
        SuspiciousError: If a byte or a line is none of a text's.
    """
    encoding = text_of(form.encoding)
    decoder = None if encoding == "utf-8" else codecs.getincrementaldecoder(encoding)()
    since, first = 0, True
    lines = _separated_lines(form, columns) if is_marked(form) else None
    rest = b""
    for part in byte_parts(parts, form.encoding):
        if b"\0" in part or b"\x1f" in part or (encoding == "latin-1" and C1.search(part)):
            raise SuspiciousError("a control character")
        end = part.rfind(b"\n")
        since = len(part) - end if end >= 0 else since + len(part)
        if since > LONGEST_LINE:
            raise SuspiciousError("a long line")
        text = part if decoder is None else decoder.decode(part).encode("utf-8")
        if first:
            text = text.lstrip(b"\r\n")  # pyarrow counts empty lines before the header as rows
            first = not text
        if lines is not None:
            text = rest + text
            end = text.rfind(b"\n") + 1
            text, rest = lines(text[:end]), text[end:]
        if text:
            yield text
    tail = b"" if decoder is None else decoder.decode(b"", final=True).encode("utf-8")
    tail = lines(rest + tail) if lines is not None else tail
    if tail:
        yield tail


def _separated_lines(form: FileForm, columns: int) -> Callable[[bytes], bytes]:
    """Return what puts `MARK` in place of the delimiters of whole lines."""
    mark, delimiter = MARK.encode(), form.delimiter.encode("utf-8")
    if form.delimiter != SPACES and not form.rest:
        return lambda lines: lines.replace(delimiter, mark)
    most = columns - 1 if form.rest else -1

    def separated(lines: bytes) -> bytes:
        if b"\x0b" in lines or b"\x0c" in lines or lines.count(b"\r") != lines.count(b"\r\n"):
            raise SuspiciousError("line ends of another kind")
        if form.delimiter == SPACES:
            return b"\n".join(mark.join(line.strip().split(None, most)) for line in lines.split(b"\n"))
        return b"\n".join(mark.join(line.split(delimiter, most)) for line in lines.split(b"\n"))

    return separated


def _marked_end(blocks: Iterator[bytes], form: FileForm, columns: int) -> Iterator[bytes]:
    """Yield blocks, and a row of `_END` behind them."""
    last = b"\n"
    for block in blocks:
        yield block
        last = block[-1:]
    line = _parsed_delimiter(form).join([_END] * columns)
    yield f"{line}\n".encode() if last in b"\r\n" else f"\n{line}\n".encode()
