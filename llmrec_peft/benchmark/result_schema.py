"""Result schema: what a report's ``results.json`` and a cell's JSON may hold, with bounds on everything."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from llmrec_peft.benchmark.sections import Slice
from llmrec_peft.errors import InputError
from llmrec_peft.options import one_line

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Plain = Annotated[str, StringConstraints(pattern=r"^[\w@.:+-]{1,96}$")]
"""A model's or a metric's name: letters, digits and a few signs, none of which Markdown or HTML reads."""
Text = Annotated[str, StringConstraints(max_length=5000)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16,64}$")]
Day = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\d$")]
_LONGEST_AXIS = 1000
"""Characters of a value on an axis, which are part of a row's name."""
Figures = Annotated[dict[Plain, Annotated[dict[Plain, float | None], Field(max_length=100)]], Field(max_length=200)]
"""Metrics by model; null where a metric is not defined."""


class _Part(BaseModel):
    """A part of a result; fields that later versions add are kept."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())


class Interval(_Part):
    """A difference with its 95 % interval."""

    difference: float
    low: float
    high: float
    excludes_zero: bool


Intervals = Annotated[dict[Plain, Interval], Field(max_length=8)]
"""Intervals by what was resampled."""


class SliceFigures(_Part):
    """Test figures on some items."""

    n: int = Field(ge=0)
    test: Figures = Field(default_factory=dict)


class Accuracy(_Part):
    """Figures of a cell's models."""

    metric: Plain
    lower_is_better: bool
    slice: Slice | None
    n: int = Field(ge=0)
    baselines: Annotated[list[Plain], Field(max_length=200)]
    best_baseline: Plain | None
    valid: Figures
    test: Figures
    slices: Annotated[dict[Plain, SliceFigures], Field(max_length=200)] = Field(default_factory=dict)
    comparisons: Annotated[dict[Plain, Intervals], Field(max_length=1000)] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _models(self) -> Self:
        """Refuse figures without the models that every table shows."""
        for part, figures in (("valid", self.valid), ("test", self.test)):
            for model in ("after", *([self.best_baseline] if self.best_baseline else [])):
                if model not in figures or self.metric not in figures[model]:
                    raise ValueError(f"{part} has no {self.metric} of {model}")
        if self.best_baseline is not None and self.best_baseline not in self.baselines:
            raise ValueError(f"best_baseline {self.best_baseline!r} is not among the baselines")
        return self


class Training(_Part):
    """How a cell was trained."""

    history: Annotated[list[float | None], Field(max_length=100_000)] = Field(default_factory=list)


class Data(_Part):
    """What a cell was trained on."""

    name: Name = "data"
    fingerprint: Digest | None = None
    digest: Digest | None = None
    users: int | None = Field(default=None, ge=0)
    items: int | None = Field(default=None, ge=0)
    train: int | None = Field(default=None, ge=0)
    valid: int | None = Field(default=None, ge=0)
    test: int | None = Field(default=None, ge=0)


class Machine(_Part):
    """Where a cell was measured."""

    processor: Name
    cores: int = Field(ge=0)
    threads: int = Field(ge=0)
    memory_gb: float = Field(ge=0.0)
    cuda: Name | None


Versions = Annotated[dict[Name, Name | None], Field(max_length=100)]
Place = Annotated[int, Field(ge=0)]


class CellResult(_Part):
    """A cell's row."""

    axes: Annotated[dict[Name, Any], Field(max_length=64)]
    key: Digest | None = None
    status: Literal["ok", "failed", "refused"]
    reason: Text | None = None
    date: Day | None = None
    code: Digest | None = None
    at_a_time: int | None = Field(default=None, ge=1)
    recipe: dict[str, Any] | None = None
    accuracy: Accuracy | None = None
    parameters: Annotated[dict[Name, Annotated[int, Field(ge=0)]], Field(max_length=64)] = Field(default_factory=dict)
    adapter_bytes: int | None = Field(default=None, ge=0)
    peak_memory_mb: dict[Name, Any] = Field(default_factory=dict)
    seconds: dict[Name, Any] = Field(default_factory=dict)
    latency_ms: dict[Name, Any] = Field(default_factory=dict)
    throughput: dict[Name, Any] = Field(default_factory=dict)
    steps: dict[Name, Any] = Field(default_factory=dict)
    answers: dict[Name, Any] = Field(default_factory=dict)
    training: Training = Training()
    data: Data | None = None
    hardware: Machine | Place | None = None
    versions: Versions | Place | None = None

    @model_validator(mode="after")
    def _figures(self) -> Self:
        """Refuse a cell with neither figures nor a reason, and axes without a recipe and a seed."""
        if self.status == "ok" and self.accuracy is None:
            raise ValueError("a measured cell needs `accuracy`")
        if self.status != "ok" and self.reason is None:
            raise ValueError("a cell that was not measured needs a `reason`")
        if not isinstance(self.axes.get("recipe"), str) or not isinstance(self.axes.get("seed"), int):
            raise ValueError("axes name no `recipe` and no `seed`")
        if any(len(str(value)) > _LONGEST_AXIS for value in self.axes.values()):
            raise ValueError(f"a value of the axes has more than {_LONGEST_AXIS} characters")
        return self


class ComparisonResult(_Part):
    """A comparison of rows, or the reason why there is none."""

    first: dict[Name, Any]
    against: dict[Name, Any] | Plain
    model: Plain
    metric: Plain
    left_out: Text | None = None
    difference: float | None = None
    intervals: Intervals = Field(default_factory=dict)
    notes: Annotated[list[Text], Field(max_length=100)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _answered(self) -> Self:
        """Refuse a comparison with neither intervals nor a reason."""
        if self.left_out is None and (self.difference is None or not self.intervals):
            raise ValueError("a comparison needs `difference` and `intervals`, or `left_out`")
        return self


class ReportResult(_Part):
    """A whole report."""

    name: Name
    date: Day
    note: Text | None = None
    commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{7,64}(\+changes)?$")] | None = None
    hardware: Annotated[list[Machine], Field(max_length=1000)]
    versions: Annotated[list[Versions], Field(max_length=1000)]
    matrix: dict[str, Any]
    rows: Annotated[list[CellResult], Field(min_length=1, max_length=10_000)]
    comparisons: Annotated[list[ComparisonResult], Field(max_length=10_000)] = Field(default_factory=list)
    totals: Annotated[list[dict[str, Any]], Field(max_length=10_000)] | None = None

    @model_validator(mode="after")
    def _places(self) -> Self:
        """Refuse rows that refer to machines or versions that are not listed."""
        for at, row in enumerate(self.rows):
            for name, listed in (("hardware", self.hardware), ("versions", self.versions)):
                place = getattr(row, name)
                if isinstance(place, int) and place >= len(listed):
                    raise ValueError(f"rows.{at}.{name} is {place}, but {len(listed)} are listed")
        return self


def is_report(values: object) -> bool:
    """Return whether what a JSON file holds can be a ``results.json``; of other results it has other names."""
    return isinstance(values, dict) and {"name", "matrix", "rows"} <= values.keys()


def checked_report(values: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the contents of a ``results.json`` unchanged, if they are those of a report.

    Args:
        values: What the file holds.
        where: The file, for the message.

    Raises:
        InputError: One line that names the file and the field.
    """
    if not is_report(values):
        raise InputError(f"{where}: not the results.json of a benchmark")
    return _checked(ReportResult, values, where)


def checked_cell(values: dict[str, Any], where: str) -> dict[str, Any]:
    """Return a cell's row unchanged, if it is one; the arguments and errors are those of `checked_report`."""
    return _checked(CellResult, values, where)


def _checked(kind: type[_Part], values: dict[str, Any], where: str) -> dict[str, Any]:
    try:
        kind.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{where}: {one_line(error, kind)}") from None
    return values
