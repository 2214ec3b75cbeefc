"""HeadOutcomes: everything that was predicted under one head, on validation and on test, and its report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmrec_peft.data.dataset import column, selected
from llmrec_peft.data.finite import require_finite
from llmrec_peft.evaluation.baselines.baseline import Baseline
from llmrec_peft.evaluation.outcomes import Outcome, Ranks
from llmrec_peft.evaluation.protocol import outcome_of
from llmrec_peft.experiment.baselines import best_baseline
from llmrec_peft.experiment.blending import Blend
from llmrec_peft.experiment.fitting import FittedVariant
from llmrec_peft.experiment.prepared import Prepared
from llmrec_peft.experiment.report import Rows, comparisons, figures, losing, slice_figures

if TYPE_CHECKING:
    from collections.abc import Sequence


class HeadOutcomes:
    """What every model predicted under one head.

    Attributes:
        name: The head.
        task: Its task.
        metric: Its primary metric.
        measure: How it is measured.
        baselines: Baselines of the task.
        best_baseline: The trivial one of them that is best on validation; None where there is none.
        blend: The tuned model's blend with it; None where nothing is blended.
        valid: Outcome on validation by model name.
        test: Outcome on test by model name.
    """

    def __init__(self, name: str, prepared: Prepared, baselines: Sequence[Baseline], blends: bool = True) -> None:
        """Begin with the baselines.

        Args:
            name: The head.
            prepared: Data, its recipe and the protocol of the evaluation.
            baselines: Baselines of the head's task.
            blends: Whether validation may choose a blend, where the recipe asks for it.
        """
        head = prepared.recipe.reads.heads[name]
        self._prepared = prepared
        self.name, self.task, self.metric = name, str(head.task), str(head.metric)
        self.measure = prepared.measures[name]
        self.baselines = list(baselines)
        self.best_baseline = best_baseline(self.baselines, self.metric, self.measure, prepared)
        best = self.best_baseline
        blends = blends and prepared.recipe.evaluation.blend
        self.blend = Blend(name, prepared, best) if blends and best is not None else None
        self.valid: dict[str, Outcome] = {}
        self.test: dict[str, Outcome] = {}

    def add(self, model_name: str, fitted: FittedVariant) -> None:
        """Predict test with a fitted variant, once."""
        protocol, test = self._prepared.protocol, self._prepared.test
        self.valid[model_name] = fitted.valid[self.name]
        outcome = outcome_of(fitted.model, self.name, test, protocol, protocol.learned, protocol.sampled)
        if not isinstance(outcome, Ranks):
            require_finite(outcome, f"test scores of model {model_name}")
        self.test[model_name] = outcome

    def repeat(self, model_name: str, as_name: str) -> None:
        """Let a model stand under another name, too: it is not asked again."""
        self.valid[as_name], self.test[as_name] = self.valid[model_name], self.test[model_name]

    def add_blend(self, after: FittedVariant) -> None:
        """Predict test with the blend, its share as validation chose it."""
        if self.blend is not None and self.blend.share is not None:
            self.valid["blend"] = self.blend.share.valid
            self.test["blend"] = self.blend.test(after.model, self.test["after"], self.blend.share)

    def figures_on_validation(self) -> dict[str, float]:
        """Return the primary metric of every model and baseline on validation, by name."""
        outcomes = {**self.valid, **{baseline.name: baseline.valid for baseline in self.baselines}}
        part = self._prepared.valid
        return {name: self.measure.report(outcome, part)[self.metric] for name, outcome in outcomes.items()}

    def report(self) -> dict[str, Any]:
        """Compute this head's part of ``metrics.json``."""
        prepared, protocol = self._prepared, self._prepared.protocol
        known = {"before", "after", "blend", "recommended"}
        baselines = [baseline.name for baseline in self.baselines]
        ablations = [name for name in self.test if name not in known and name != "collaborative_only"]
        if "collaborative_only" in self.test:
            baselines.append("collaborative_only")
        rows = Rows(baselines, ablations, None if self.best_baseline is None else self.best_baseline.name)
        valid = {**self.valid, **{baseline.name: baseline.valid for baseline in self.baselines}}
        test = {**self.test, **{baseline.name: baseline.test for baseline in self.baselines}}
        counts = protocol.learned.counts_by_item(protocol.num_items)
        on_test = figures(test, prepared.test, self.measure, rows)
        share = None if self.blend is None or self.blend.share is None else self.blend.share.value
        return {
            "primary_metric": self.metric,
            "best_baseline": rows.best_baseline,
            "test": on_test,
            "valid": figures(valid, prepared.valid, self.measure, rows),
            "no_better_than_best_baseline": losing(on_test, self.metric, rows),
            "blend_share_of_best_baseline": share,
            "slices": slice_figures(test, prepared.test, self.measure, counts, _kinds(prepared), rows),
            "comparisons": comparisons(test, prepared.test, self.measure, self.metric, protocol.bootstrap, rows),
            "baseline_settings": {baseline.name: baseline.settings for baseline in self.baselines},
        }


def _kinds(prepared: Prepared) -> list[str] | None:
    """What the owner calls each test example."""
    table = prepared.dataset.interactions
    if "kind" not in table.column_names:
        return None
    of_test = selected(table, prepared.used_rows[prepared.split.test])
    return [str(kind) for kind in column(of_test, "kind")]
