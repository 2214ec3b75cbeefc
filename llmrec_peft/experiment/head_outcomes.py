"""HeadOutcomes: everything that was said under one head, on validation and on test, and its report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from llmrec_peft.data.dataset import column
from llmrec_peft.evaluation.baselines.baseline import Baseline
from llmrec_peft.evaluation.measures import Measure
from llmrec_peft.evaluation.outcomes import Outcome, Ranks, rank_targets
from llmrec_peft.experiment.baselines import best_line
from llmrec_peft.experiment.blending import blend_pairs, blend_rankings, choose_share
from llmrec_peft.experiment.fitting import Fitted, measures, outcome_of
from llmrec_peft.experiment.prepare import Prepared
from llmrec_peft.experiment.report import Rows, comparisons, figures, losing, slice_figures
from llmrec_peft.model.rec_model import RecModel
from llmrec_peft.recipe import Recipe
from llmrec_peft.recipe.reads import bare_heads


@dataclass
class HeadOutcomes:
    """What every model said under one head.

    Attributes:
        name: The head.
        task: Its task.
        metric: Its primary metric.
        measure: How it is measured.
        valid: Outcome on validation by model name.
        test: Outcome on test by model name.
        baselines: Baselines of the task.
        share: Share of the trivial line in the blend; None where nothing was blended.
    """

    name: str
    task: str
    metric: str
    measure: Measure
    valid: dict[str, Outcome] = field(default_factory=dict)
    test: dict[str, Outcome] = field(default_factory=dict)
    baselines: list[Baseline] = field(default_factory=list)
    share: float | None = None

    @classmethod
    def empty(cls, name: str, recipe: Recipe, prepared: Prepared) -> Self:
        """Nothing was said yet."""
        head = bare_heads(recipe)[name]
        return cls(name, head.task, head.metric, measures(recipe, prepared)[name])

    def add(self, model_name: str, fitted: Fitted, recipe: Recipe, prepared: Prepared) -> None:
        """Predict test with a fitted variant, once."""
        learned = prepared.learned(recipe.refits)
        sampled = recipe.evaluation.sampled
        self.valid[model_name] = fitted.valid[self.name]
        self.test[model_name] = outcome_of(fitted.model, self.name, prepared.test, recipe, prepared, learned, sampled)

    def repeat(self, model_name: str, as_name: str) -> None:
        """Let a model stand under another name, too: it is not asked again."""
        self.valid[as_name], self.test[as_name] = self.valid[model_name], self.test[model_name]

    def line(self, prepared: Prepared) -> Baseline | None:
        """The trivial baseline that is best on validation."""
        return best_line(self.baselines, self.metric, self.measure, prepared)

    def choose(self, model: RecModel, recipe: Recipe, prepared: Prepared) -> None:
        """Choose the trivial line's share in a blended ranking, with a model that knows the training part alone."""
        line = self.line(prepared)
        if self.task != "ranking" or line is None or line.scores is None:
            return
        num_items, own_items, valid = prepared.vocabulary.num_items, recipe.evaluation.own_items, prepared.valid
        with model.ranking(valid, num_items, self.name) as scores:
            share = choose_share(valid, scores, line.scores[0], num_items, own_items, self.measure, self.metric)
            mixed = blend_rankings(scores, line.scores[0], share)
            self.valid["blend"] = rank_targets(valid, mixed, num_items, own_items=own_items)
        self.share = share

    def blend(self, after: Fitted, recipe: Recipe, prepared: Prepared) -> None:
        """Add the trivial line to the tuned model, its share chosen on validation; after `choose`."""
        line = self.line(prepared)
        if line is None:
            return
        own_valid, own_test = self.valid["after"], self.test["after"]
        if not isinstance(own_valid, Ranks) and not isinstance(own_test, Ranks):
            found = blend_pairs(self.task, (own_valid, own_test), line, prepared.valid, self.measure, self.metric)
            self.share, self.valid["blend"], self.test["blend"] = found.share, found.valid, found.test
            return
        if line.scores is None:
            return
        assert self.share is not None  # noqa: S101 - see `choose`
        num_items, own_items = prepared.vocabulary.num_items, recipe.evaluation.own_items
        with after.model.ranking(prepared.test, num_items, self.name) as scores:
            mixed = blend_rankings(scores, line.scores[1], self.share)
            self.test["blend"] = rank_targets(prepared.test, mixed, num_items, own_items=own_items)

    def report(self, recipe: Recipe, prepared: Prepared) -> dict[str, Any]:
        """This head's part of ``metrics.json``."""
        line = self.line(prepared)
        known = {"before", "after", "blend"}
        baselines = [baseline.name for baseline in self.baselines]
        ablations = [name for name in self.test if name not in known and name != "collaborative_only"]
        if "collaborative_only" in self.test:
            baselines.append("collaborative_only")
        rows = Rows(baselines, ablations, None if line is None else line.name)
        valid = {**self.valid, **{baseline.name: baseline.valid for baseline in self.baselines}}
        test = {**self.test, **{baseline.name: baseline.test for baseline in self.baselines}}
        counts = prepared.learned(recipe.refits).counts_by_item(prepared.vocabulary.num_items)
        on_test = figures(test, prepared.test, self.measure, rows)
        return {
            "primary_metric": self.metric,
            "line": rows.line,
            "test": on_test,
            "valid": figures(valid, prepared.valid, self.measure, rows),
            "no_better_than_the_line": losing(on_test, self.metric, rows),
            "blend_share_of_line": self.share,
            "slices": slice_figures(test, prepared.test, self.measure, counts, _kinds(prepared), rows),
            "comparisons": comparisons(
                test, prepared.test, self.measure, self.metric, recipe.evaluation.bootstrap, rows
            ),
            "baseline_settings": {baseline.name: baseline.settings for baseline in self.baselines},
        }


def _kinds(prepared: Prepared) -> list[str] | None:
    """What the owner calls each test example."""
    table = prepared.dataset.interactions
    if "kind" not in table.column_names:
        return None
    kinds = np.asarray(column(table, "kind"))[prepared.used_rows]
    return [str(kind) for kind in kinds[prepared.split.test]]
