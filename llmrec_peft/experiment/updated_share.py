"""Updated share: the share of a baseline with which a ranking answers, before and after an update."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmrec_peft.experiment.served_signal import served_signal, slope, weight_of
from llmrec_peft.model.served_baseline import with_baseline

if TYPE_CHECKING:
    from llmrec_peft.data.interactions import Interactions
    from llmrec_peft.experiment.parent import Parent
    from llmrec_peft.experiment.prepared import Prepared
    from llmrec_peft.model import RecModel
    from llmrec_peft.model.served_baseline import Served
    from llmrec_peft.recipe.sections import ServedSection


def as_it_was(model: RecModel, parent: Parent, prepared: Prepared) -> RecModel:
    """Return the run's model with its share of the baseline, as the run folder holds it.

    New users and items have what the run says of unknown ones.

    Args:
        model: The run's model, its tables grown.
        parent: The run; it answers with a share of a baseline.
        prepared: Data, with the new users and items.
    """
    signal, section = _share_of(parent)
    vocabulary = prepared.vocabulary
    return with_baseline(model, signal.grown(vocabulary.num_users, vocabulary.num_items), section.share)


def counted_again(
    model: RecModel, before: RecModel, parent: Parent, prepared: Prepared, learned: Interactions
) -> RecModel:
    """Return the updated model with the run's share of the run's baseline, counted on all that is known now.

    Baseline, settings, share and the factor that brings the baseline's score to the model's scale are those of the
    run, as a refit keeps what validation chose. Heads learn their own scale, so it is taken out of the weight again.

    Args:
        model: The updated model.
        before: The run's model as it was, without the baseline.
        parent: The run; it answers with a share of a baseline.
        prepared: Data.
        learned: Old and new interactions that are learned from.
    """
    signal, section = _share_of(parent)
    assert section.baseline is not None  # noqa: S101 - of its signal
    weight = weight_of(signal, parent.items.popularity)
    weight *= slope(before.head, before.device) / slope(model.head, model.device)
    again = served_signal(prepared, section.baseline, section.settings, weight, learned)
    return with_baseline(model, again, section.share)


def _share_of(parent: Parent) -> tuple[Served, ServedSection]:
    section = parent.recipe.served
    if parent.baseline is None or section is None:
        raise ValueError(f"{parent.folder} answers without a baseline")
    return parent.baseline, section
