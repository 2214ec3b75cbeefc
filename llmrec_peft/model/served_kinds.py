"""Served kinds: which signal serves a baseline beside a trained model, empty, to be filled from a run folder."""

from __future__ import annotations

from collections.abc import Mapping

from llmrec_peft.model.served_baseline import ServedBaseline
from llmrec_peft.model.served_neighbours import NEIGHBOURS, WITH_TEXTS, NeighbourOptions, ServedNeighbours
from llmrec_peft.signals.contract import SignalContext

Served = ServedBaseline | ServedNeighbours
"""Signals that `llmrec_peft.model.served_baseline.with_baseline` puts beside a model."""


def empty_signal(baseline: str, settings: Mapping[str, float], context: SignalContext) -> Served:
    """Make the signal of a baseline with tables of zeros, as long as the saved ones.

    Args:
        baseline: Name of the baseline.
        settings: Its settings.
        context: Sizes, and the saved tensors under the signal's name.

    Raises:
        InputError: If the settings are none of this baseline.
        KeyError: If a saved table is missing.
        ValueError: If a saved table does not fit the sizes.
    """
    if baseline in (NEIGHBOURS, WITH_TEXTS):
        return ServedNeighbours.empty(context, NeighbourOptions.model_validate(dict(settings)))
    return ServedBaseline.empty(context)
