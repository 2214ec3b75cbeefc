"""The figures of a run folder as the page reads them: bounded and of the right types, whoever wrote them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.errors import InputError
from llmrec_peft.options import one_line
from llmrec_peft.recipe.yaml_file import dump_yaml

_MODELS, _METRICS, _LINES = 100, 40, 200
"""Models, metrics of one, and notes that a page shows at most: a run has some twenty of each."""
Name = Annotated[str, Field(max_length=200)]
Text = Annotated[str, Field(max_length=4000)]
Count = Annotated[int, Field(ge=0, le=2**63)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Row = Annotated[dict[Name, Number], Field(max_length=_METRICS)]
Rows = Annotated[dict[Name, Row], Field(max_length=_MODELS)]
Plain = Annotated[dict[Name, Any], Field(max_length=_MODELS)]


class _Read(BaseModel):
    """What is read of ``metrics.json``; fields of later versions are left out."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=False, protected_namespaces=())


class _Models(_Read):
    """Figures of models by name: the run's own are fields beside `baselines` and `ablations`."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, Row]

    @model_validator(mode="after")
    def _few(self) -> Self:
        if len(self.own) > _MODELS:
            raise ValueError(f"more than {_MODELS} models")
        return self

    @property
    def own(self) -> dict[str, dict[str, float]]:
        """Metrics of each of the run's own models, such as ``before`` and ``after``."""
        return dict(self.__pydantic_extra__ or {})


class PartFigures(_Models):
    """Figures of every model on one part."""

    baselines: Rows
    """Metrics of each baseline."""
    ablations: Rows = {}
    """Metrics of the model without each part."""


class SliceFigures(_Models):
    """Figures on some of the test examples; of a slice without examples, their number alone."""

    n: Count
    """Test examples."""
    baselines: Rows = {}
    """Metrics of each baseline."""
    ablations: Rows = {}
    """Metrics of the model without each part."""


class Interval(_Read):
    """A difference of the primary metric and its 95 % interval."""

    difference: Number
    low: Number
    high: Number
    clusters: Count


class Gain(_Read):
    """How much better a candidate is than the baseline over the folds, with an interval."""

    gain: Number
    low: Number
    high: Number


class Candidate(_Read):
    """A model that could have answered, as cross-validation found it."""

    figure: Number | None = None
    """Its primary metric over the folds, blended with the baseline by its share."""
    share_of_baseline: Number | None = None
    better_than_baseline: Gain | None = None
    earns_its_place: bool | None = None
    left_because: Text = ""


class Recommended(_Read):
    """What answers, and how it was chosen."""

    says: Text = ""
    chosen_by: Name = ""
    folds: Count | None = None
    examples: Count | None = None
    candidates: Annotated[dict[Name, Candidate], Field(max_length=_MODELS)] = {}


Intervals = Annotated[dict[Name, Annotated[dict[Name, Interval], Field(max_length=4)]], Field(max_length=4 * _MODELS)]


class HeadReport(_Read):
    """Figures of one head."""

    primary_metric: Name
    """The metric by which epochs were chosen."""
    best_baseline: Name | None = None
    """The baseline that is best on validation."""
    valid: PartFigures
    """Figures on validation."""
    test: PartFigures
    """Figures on test."""
    no_better_than_best_baseline: Annotated[tuple[Name, ...], Field(max_length=_MODELS)] = ()
    """Models that are no better than it."""
    blend_share_of_best_baseline: Number | None = None
    """Share of the best baseline in the blend."""
    comparisons: Intervals = {}
    """Differences between models, such as ``after_minus_before``, by what is resampled."""
    slices: Annotated[dict[Name, SliceFigures], Field(max_length=_MODELS)] = {}
    """Figures on some of the test examples."""
    recommended: Recommended = Recommended()
    """What is recommended to answer, and why."""
    before: Name = "frozen"
    """What ``before`` is: the untuned model (``frozen``), the run that was updated (``run``), or the first of runs that
    were merged (``unmerged``)."""


class _Training(_Read):
    epochs: Count
    history: Annotated[tuple[Number, ...], Field(max_length=100_000)] = ()
    refit: Any = None


class _Data(_Read):
    name: Text
    users: Count | None = None
    items: Count | None = None
    train: Count
    valid: Count
    test: Count
    licence: Text = ""
    notes: Annotated[tuple[Text, ...], Field(max_length=_LINES)] = ()
    leaks: Annotated[tuple[Text, ...], Field(max_length=_LINES)] = ()


class RunReport(HeadReport):
    """What the page shows of ``metrics.json``."""

    recipe: Name
    """Name of the recipe."""
    head: Name
    """Name of the first head."""
    seed: Count
    protocol: Plain = {}
    heads: Annotated[dict[Name, HeadReport], Field(max_length=20)] = {}
    """Figures of further heads."""
    training: _Training
    parameters: Annotated[dict[Name, Count], Field(max_length=_METRICS)]
    seconds: Row = {}
    peak_memory_mb: Annotated[dict[Name, Number | None], Field(max_length=_METRICS)] = {}
    data: _Data
    base: Plain
    versions: Plain = {}
    hardware: Plain = {}


class RunFacts(_Read):
    """A run folder's report, recipe and identity, verified against its manifest.

    Attributes:
        report: Its figures.
        recipe: Its recipe as plain values.
        recipe_lines: The same as YAML.
        digest: Identity of the run.
    """

    report: RunReport
    recipe: dict[str, Any]
    recipe_lines: tuple[str, ...]
    digest: str


def read_run(folder: Path) -> RunFacts:
    """Read what the page shows of a run folder: its manifest, figures and recipe; no private file.

    Raises:
        InputError: If it is no run folder, a file was changed, or its figures are not what a run writes.
    """
    sealed = SealedFolder.open(folder)
    values, recipe = sealed.report(), sealed.recipe()
    try:
        report = RunReport.model_validate(values)
    except ValidationError as error:
        found = one_line(error, RunReport)
        raise InputError(f"{folder}: metrics.json is not what a run writes ({found[:300]})") from None
    lines = tuple(dump_yaml(recipe).splitlines())
    return RunFacts(report=report, recipe=recipe, recipe_lines=lines, digest=sealed.manifest.digest)
