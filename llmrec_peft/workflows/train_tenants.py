"""Train tenants: one recipe over many tenants' data in one process, a run folder each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from llmrec_peft.artifact.folder import require_free, whole_file
from llmrec_peft.artifact.manifest import NAME as MANIFEST
from llmrec_peft.artifact.manifest import write_json
from llmrec_peft.artifact.workspace import Workspace
from llmrec_peft.backbone.mixed_training import MixedTraining, Mixing
from llmrec_peft.backbone.shared import SharedBase
from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.printable import shown
from llmrec_peft.progress import SILENT, Bar, Progress
from llmrec_peft.regular_files import is_file
from llmrec_peft.strict_json import read_object
from llmrec_peft.training.accelerator import processes_asked_for
from llmrec_peft.training.coroutines import Coroutines, drawing_as
from llmrec_peft.workflows.tenants import Tenant
from llmrec_peft.workflows.train import train
from llmrec_peft.writing.train_writer import is_writing

SUMMARY = "tenants.json"
"""File beside the runs that says how each tenant's training ended."""
_SUMMARY_BYTES = 256 << 20
FORMAT = 1
TOGETHER = 16
"""Tenants whose trainings are under way at a time, unless something else is asked for."""


@dataclass(frozen=True)
class TenantResult:
    """How one tenant's training ended.

    Attributes:
        name: Name of the run folder.
        value: Value of the column that the data were divided by; None without one.
        status: ``trained``, ``finished`` before (with `resume`), or ``failed``.
        reason: Why it failed, in one line; empty otherwise.
        rows: Interactions of training, validation and test.
        metric: Name of the figure.
        before: The figure on test before tuning; None where there is none.
        after: The figure on test after tuning.
        recommended: What is recommended, in one sentence.
        seconds: Time spent on this tenant alone.
        notes: What is to be said of its data, one line each.
    """

    name: str
    value: str | None
    status: Literal["trained", "finished", "failed"]
    reason: str = ""
    rows: int = 0
    metric: str = ""
    before: float | None = None
    after: float | None = None
    recommended: str = ""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


def train_tenants(
    tenants: Sequence[Tenant],
    out: Path,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress = SILENT,
    told: Callable[[TenantResult], None] | None = None,
    together: int = TOGETHER,
    mixing: Mixing = "auto",
) -> list[TenantResult]:
    """Train every tenant and leave a run folder of each in `out`, and `SUMMARY` beside them.

    Each run is what `llmrec_peft.workflows.train.train` writes for the tenant's recipe and data. The base is loaded
    once; what the frozen layers compute of a text is computed once for all tenants that read it. What is wrong with one
    tenant's data, or diverges, ends that tenant's training and no other.

    Args:
        tenants: The tenants, with distinct names and recipes that differ in their data alone.
        out: Folder of the runs; made if it is not there.
        resume: Go on with interrupted trainings, and leave finished ones as they are.
        overwrite: Replace runs that are there.
        progress: Where the whole is reported to.
        told: Receives each result when it is known.
        together: Tenants whose trainings are under way at a time, at most.
        mixing: When texts of several tenants share a pass through the base and its adapters.

    Returns:
        A result for each tenant, in their order.

    Raises:
        InputError: When a run is in the way, `out` cannot be a folder of runs, or several processes were started.
    """
    _require_possible(tenants, out, resume, overwrite)
    out.mkdir(parents=True, exist_ok=True)
    base = SharedBase()
    jobs: Coroutines[TenantResult] = Coroutines()
    mixed = base.mixed = MixedTraining(jobs.wait, drawing_as, mixing)
    results: dict[str, TenantResult] = {}
    with progress.bar("tenants", len(tenants)) as shown_bar:

        def one(tenant: Tenant) -> TenantResult:
            return _trained(tenant, out, resume, overwrite, base, _Within(shown_bar, tenant.name))

        def ended(_number: int, result: TenantResult) -> None:
            results[result.name] = result
            _write_summary(out, results)
            if told is not None:
                told(result)
            shown_bar.advance()

        try:
            return jobs.run([partial(one, tenant) for tenant in tenants], together, mixed.serve, ended)
        finally:
            base.let_go()


class _Within(Progress):
    """Shows what a tenant's training is at beside the bar of all tenants."""

    def __init__(self, whole: Bar, name: str) -> None:
        super().__init__(False)
        object.__setattr__(self, "_line", _Line(whole, name))

    @contextmanager
    def bar(self, title: str, total: int, done: int = 0) -> Iterator[Bar]:
        """Show no bar of its own."""
        line: _Line = vars(self)["_line"]
        line.title = title
        yield line


class _Line(Bar):
    """What one tenant is at."""

    def __init__(self, whole: Bar, name: str) -> None:
        self._whole, self._name, self.title = whole, name, ""

    def advance(self, steps: int = 1, text: str | None = None) -> None:
        """Show the text behind the bar of all."""
        self._whole.advance(0, text=f"{self._name}: {self.title} {text or ''}".rstrip())


def _require_possible(tenants: Sequence[Tenant], out: Path, resume: bool, overwrite: bool) -> None:
    """Refuse what would stop half-way, before anything is computed."""
    if processes_asked_for() > 1:
        raise InputError("llmrec train-tenants runs in one process: start it without a launcher")
    if not tenants:
        raise InputError("there is no tenant to train")
    if is_writing(tenants[0].recipe):
        raise InputError("llmrec train-tenants trains recommenders; a writer is trained by llmrec train")
    if out.exists() and (not out.is_dir() or is_file(out / MANIFEST)):
        raise InputError(f"{shown(out)} is {'a run' if out.is_dir() else 'a file'}: --out is a folder of many runs")
    for tenant in tenants:
        run = out / tenant.name
        if not resume:
            require_free(run, overwrite, "--resume leaves it as it is, --overwrite replaces it")
        if not (resume or overwrite) and Workspace(run, "training").resumable:
            raise InputError(f"an interrupted run of {shown(run)} is there: --resume goes on, --overwrite starts over")


def _trained(
    tenant: Tenant, out: Path, resume: bool, overwrite: bool, base: SharedBase, progress: Progress
) -> TenantResult:
    """Train one tenant, and tell an error as a result."""
    started, finished = time.monotonic(), resume and not overwrite and is_file(out / tenant.name / MANIFEST)
    try:
        metrics = train(
            tenant.recipe,
            out / tenant.name,
            resume=resume,
            overwrite=overwrite,
            progress=progress,
            dataset=tenant.dataset,
            shared=base,
            start_from=tenant.start_from,
        )
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this tenant's
        why = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {reason_of(error)}"
        return TenantResult(tenant.name, tenant.value, "failed", why, seconds=_since(started))
    return TenantResult(
        tenant.name,
        tenant.value,
        "finished" if finished else "trained",
        seconds=_since(started),
        **_figures(metrics),
    )


def _figures(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a run's metrics is told of it."""
    test, metric, data = metrics["test"], metrics["primary_metric"], metrics["data"]
    answers = test.get("recommended", test["after"])
    return {
        "rows": sum(int(data[part]) for part in ("train", "valid", "test")),
        "metric": metric,
        "before": test["before"].get(metric) if "before" in test else None,
        "after": answers.get(metric),
        "recommended": str(metrics["recommended"].get("says", "the tuned model")),
        "notes": tuple(data["notes"]),
    }


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)


def _write_summary(out: Path, results: Mapping[str, TenantResult]) -> None:
    """Write how each tenant ended; what earlier calls said of other tenants stays."""
    told = {**earlier_results(out), **{name: asdict(one) for name, one in results.items()}}
    with whole_file(out / SUMMARY) as partial:
        write_json(partial, {"format": FORMAT, "tenants": [told[name] for name in sorted(told)]})


def earlier_results(out: Path) -> dict[str, dict[str, Any]]:
    """Return what `SUMMARY` says, by tenant; nothing where there is none that can be read."""
    path = out / SUMMARY
    if not is_file(path):
        return {}
    try:
        plain = read_object(path, _SUMMARY_BYTES)
        return {str(one["name"]): dict(one) for one in plain["tenants"]}
    except (InputError, KeyError, TypeError, ValueError):
        return {}
