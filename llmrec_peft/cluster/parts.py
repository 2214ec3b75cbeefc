"""Parts: a job's numbered inputs and results as Parquet files beside its target; an interrupted job is taken up."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from llmrec_peft.artifact.folder import whole_file
from llmrec_peft.artifact.workspace import RESUMABLE, Workspace, removed
from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.identity import file_digest, values_digest
from llmrec_peft.regular_files import open_regular
from llmrec_peft.strict_json import read_object

INPUTS, RESULTS = "inputs", "results"
"""Folders of the parts."""
JOB, REPORT = b"llmrec.job", b"llmrec.report"
"""Metadata of a result: the digest of the job that it belongs to, and what its worker reported."""
_MOST_BYTES = 1 << 34
_FOOTER_BYTES = 16 << 20
_IDENTITY_BYTES = 1 << 20


class Parts:
    """Parts of one job in the hidden folder beside its target.

    A result counts if it says the digest of this job, which covers what is asked and every byte of the inputs. So a job
    that was interrupted goes on with what is missing, and one that asks something else begins anew.

    Attributes:
        folder: Hidden folder, which the workers of other machines have to see under the same name.
        job: Digest of the job, once `begin` was called.
    """

    def __init__(self, workspace: Workspace) -> None:
        """Use a hidden folder that this process holds."""
        self._workspace = workspace
        self.folder = workspace.folder
        self.job = ""

    @classmethod
    @contextlib.contextmanager
    def of(cls, target: Path, ending: str) -> Iterator[Self]:
        """Hold the hidden folder ``.NAME.ENDING`` inside the block; it goes at the end, and stays after an error.

        Nothing stays of a job that failed before a part of it was done.

        Raises:
            InputError: When another process works on this target, or nothing can be written beside it.
        """
        workspace = Workspace(target, ending)
        workspace.take()
        parts = cls(workspace)
        try:
            yield parts
        except BaseException:
            if parts.done():
                workspace.release()
            else:
                workspace.remove()
            raise
        workspace.remove()

    def begin(self, asked: Mapping[str, Any], inputs: Iterable[pa.Table]) -> dict[str, int]:
        """Write the inputs, and keep results of an earlier process if they are this job's.

        Args:
            asked: All that the results depend on beside the inputs, as plain values.
            inputs: The inputs in their order; each becomes one part.

        Returns:
            Rows of each part by its name, in order.
        """
        removed(self.folder / INPUTS)
        (self.folder / INPUTS).mkdir()
        rows, digests = {}, []
        for number, table in enumerate(inputs):
            name = f"{number:06}.parquet"
            pq.write_table(table, self.folder / INPUTS / name)
            rows[name] = len(table)
            digests.append(file_digest(self.folder / INPUTS / name))
        identity = {"asked": values_digest(dict(asked)), "inputs": values_digest(digests)}
        self.job = values_digest(identity)
        if self._begun() != identity:
            removed(self.folder / RESULTS)
            with whole_file(self.folder / RESUMABLE) as partial:
                partial.write_text(json.dumps(identity) + "\n", encoding="utf-8")
        (self.folder / RESULTS).mkdir(exist_ok=True)
        return rows

    def _begun(self) -> dict[str, Any] | None:
        with contextlib.suppress(InputError):
            return read_object(self.folder / RESUMABLE, _IDENTITY_BYTES)
        return None

    def done(self) -> list[str]:
        """Return the parts whose results are there, whatever job they belong to."""
        try:
            return sorted(path.name for path in (self.folder / RESULTS).iterdir() if path.suffix == ".parquet")
        except OSError:
            return []

    def reports(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return the reports of those parts whose results are there and are this job's."""
        found = {}
        for name in set(names).intersection(self.done()):
            with contextlib.suppress(InputError):
                found[name] = report_of(self.folder / RESULTS / name, self.job)
        return found

    def result(self, name: str) -> pa.Table:
        """Return the result of a part.

        Raises:
            InputError: If it is unreadable, or another job's.
        """
        return read_part(self.folder / RESULTS / name, self.job)


def write_result(folder: Path, name: str, table: pa.Table, job: str, report: Mapping[str, Any], **options: Any) -> None:
    """Write the result of a part whole or not at all, with its report.

    Args:
        folder: Folder of the parts.
        name: The part.
        table: The result.
        job: Digest of the job.
        report: What the worker says of it.
        options: Further options of Parquet.
    """
    metadata = {**(table.schema.metadata or {}), JOB: job.encode(), REPORT: json.dumps(dict(report)).encode()}
    with whole_file(folder / RESULTS / name) as partial:
        pq.write_table(table.replace_schema_metadata(metadata), partial, **options)


def report_of(path: Path, job: str) -> dict[str, Any]:
    """Return the report of a part's result; its columns are not read.

    Raises:
        InputError: If it is unreadable, or another job's.
    """
    with _opened(path) as file:
        return _report(file, path, job)


def read_part(path: Path, job: str | None = None) -> pa.Table:
    """Read a part.

    Args:
        path: Its file.
        job: Digest of the job that a result has to belong to; None for an input.

    Raises:
        InputError: If it is unreadable, or another job's.
    """
    with _opened(path) as file:
        if job is not None:
            _report(file, path, job)
        return file.read()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    limits = {"thrift_string_size_limit": _FOOTER_BYTES, "thrift_container_size_limit": _FOOTER_BYTES}
    with open_regular(path, _MOST_BYTES) as (descriptor, _):
        try:
            with open(descriptor, "rb", closefd=False) as content:  # what was opened is what is read
                yield pq.ParquetFile(content, arrow_extensions_enabled=False, **limits)
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError) as error:
            raise InputError(f"{path}: not the part of a job that it should be ({reason_of(error)})") from None


def _report(file: pq.ParquetFile, path: Path, job: str) -> dict[str, Any]:
    metadata = file.schema_arrow.metadata or {}
    if metadata.get(JOB) != job.encode():
        raise InputError(f"{path}: the result of another job")
    report = json.loads(metadata.get(REPORT, b"{}"))
    if not isinstance(report, dict) or report.get("rows") != file.metadata.num_rows:
        raise InputError(f"{path}: its report is not that of a worker")
    return report
