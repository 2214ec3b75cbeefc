"""JSON lines: the quick way, by pyarrow's parser in blocks; whatever it stumbles over is left to the exact way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as arrow_json
import pyarrow.types as of

from llmrec_peft.progress import SILENT, Progress
from llmrec_peft.tabular.cells import Number, Whole
from llmrec_peft.tabular.delimited import BLOCK, Blocks, SuspiciousError
from llmrec_peft.tabular.form import FileForm
from llmrec_peft.tabular.json_records import JsonRecord
from llmrec_peft.tabular.lines import LONGEST_LINE, byte_parts
from llmrec_peft.tabular.typed import converted, finite
from llmrec_peft.tabular.unpacked import DamagedFileError, opened

_KINDS: Mapping[type, pa.DataType] = {str: pa.string(), Whole: pa.int64(), Number: pa.float64(), bool: pa.bool_()}


def kinds_of(first: Iterable[JsonRecord], names: Sequence[str]) -> list[pa.DataType | None]:
    """Return how pyarrow can read each column, as the first records have it; None where it cannot."""
    found: list[set[pa.DataType | None]] = [set() for _ in names]
    for record in first:
        for at, name in enumerate(names):
            value = record.fields.get(name)
            if value is not None:
                found[at].add(_kind(value))
    return [pa.null() if not kinds else kinds.pop() if len(kinds) == 1 else None for kinds in map(_merged, found)]


def _kind(value: Any) -> pa.DataType | None:
    if isinstance(value, list):
        inner = {_KINDS.get(type(one)) for one in value if one is not None}
        return pa.list_(inner.pop() if inner else pa.null()) if len(inner) <= 1 and None not in inner else None
    return _KINDS.get(type(value))


def _merged(kinds: set[pa.DataType | None]) -> set[pa.DataType | None]:
    """Return kinds, a list without elements being one of any."""
    return kinds - {pa.list_(pa.null())} if len(kinds) > 1 else kinds


def read_json_quickly(
    path: Path,
    form: FileForm,
    names: Sequence[str],
    kinds: Sequence[pa.DataType | None],
    types: Mapping[str, pa.DataType],
    progress: Progress = SILENT,
) -> pa.Table:
    """Read JSON lines by pyarrow's parser.

    Args:
        path: The file.
        form: Its form.
        names: Columns that are read.
        kinds: How pyarrow can read each, see `kinds_of`.
        types: Types of columns that are not read as texts.
        progress: Where it is shown how far the reading is.

    Raises:
        SuspiciousError: If anything is not as it should be, or texts of numbers would not be as the file writes them.
    """
    wanted = [types.get(name) for name in names]
    require_quick(form, kinds, wanted)
    try:
        with opened(path, form.compression, progress) as unpacked:
            batches = parsed_records(unpacked, form, names, kinds, wanted)
    except DamagedFileError as error:
        raise SuspiciousError(str(error)) from None
    own = [pa.list_(pa.string()) if of.is_list(kind) else pa.string() for kind in kinds]
    columns = [pa.chunked_array([batch[at] for batch in batches], kind or own[at]) for at, kind in enumerate(wanted)]
    return pa.Table.from_arrays(columns, names=list(names)).unify_dictionaries()


def require_quick(form: FileForm, kinds: Sequence[pa.DataType | None], wanted: Sequence[pa.DataType | None]) -> None:
    """Refuse a file that pyarrow cannot read, or whose texts of numbers would not be as the file writes them.

    Raises:
        SuspiciousError: If it is so.
    """
    if form.format != "json-lines" or form.encoding != "utf-8" or any(kind is None for kind in kinds):
        raise SuspiciousError("another format")
    if not all(_keeps(own, kind) for own, kind in zip(kinds, wanted, strict=True)):
        raise SuspiciousError("texts of numbers")


def parsed_records(
    parts: Iterable[bytes],
    form: FileForm,
    names: Sequence[str],
    kinds: Sequence[pa.DataType | None],
    wanted: Sequence[pa.DataType | None],
) -> list[list[pa.Array]]:
    """Return the batches of columns that pyarrow makes of JSON lines.

    Raises:
        SuspiciousError: If anything is not as it should be.
    """
    lines = _Lines()
    batches: list[list[pa.Array]] = []
    try:
        for batch in _batches(lines.checked(byte_parts(parts, form.encoding)), names, kinds):
            lines.rows += len(batch)
            batches.append([_column(batch.column(name), kind, form) for name, kind in zip(names, wanted, strict=True)])
    except (pa.ArrowException, UnicodeError, ValueError) as error:
        raise SuspiciousError(str(error)) from None
    if lines.rows != lines.lines:
        raise SuspiciousError("several records in a line")
    return batches


def _keeps(own: pa.DataType | None, kind: pa.DataType | None) -> bool:
    """Return whether a column comes out as the exact way has it, which keeps numbers as the file writes them."""
    if own is not None and of.is_list(own):
        return kind is None and not (of.is_floating(own.value_type) or of.is_boolean(own.value_type))
    if of.is_floating(own):
        return kind is not None and of.is_floating(kind)
    return True


def _batches(blocks: Iterator[bytes], names: Sequence[str], kinds: Sequence[pa.DataType | None]) -> Iterator[Any]:
    reader = arrow_json.open_json(
        pa.PythonFile(Blocks(blocks), mode="r"),
        read_options=arrow_json.ReadOptions(use_threads=False, block_size=BLOCK),
        parse_options=arrow_json.ParseOptions(
            explicit_schema=pa.schema(list(zip(names, kinds, strict=True))), unexpected_field_behavior="ignore"
        ),
    )
    yield from islice(reader, None)


def _column(column: pa.Array, kind: pa.DataType | None, form: FileForm) -> pa.Array:
    """Return a column as texts, lists of texts, or what was asked for."""
    if of.is_list(column.type):
        return column.cast(pa.list_(pa.string()))
    if kind is not None and of.is_floating(kind) and not of.is_string(column.type):
        return finite(column, kind) if not of.is_boolean(column.type) else converted(_texts(column), kind, form.decimal)
    texts = _texts(column)
    return texts if kind is None else converted(texts, kind, form.decimal)


def _texts(column: pa.Array) -> pa.Array:
    if of.is_boolean(column.type):
        return pc.if_else(column, "true", "false")
    return column.cast(pa.string())


class _Lines:
    """Counts lines and records, which have to be as many."""

    def __init__(self) -> None:
        self.lines = 0
        self.rows = 0

    def checked(self, parts: Iterable[bytes]) -> Iterator[bytes]:
        """Yield whole lines of valid UTF-8 and of a bounded length.

        Raises:
            SuspiciousError: If a line is not so.
        """
        rest = b""
        for part in parts:
            data = rest + part
            end = data.rfind(b"\n") + 1
            lines, rest = data[:end], data[end:]
            if len(rest) > LONGEST_LINE or b"\0" in part or b"\x1f" in part:
                raise SuspiciousError("a long line, or a control character")
            yield from self._counted(lines)
        yield from self._counted(rest)

    def _counted(self, lines: bytes) -> Iterator[bytes]:
        if lines:
            lines.decode("utf-8")
            self.lines += sum(1 for line in lines.split(b"\n") if line.strip())
            yield lines
