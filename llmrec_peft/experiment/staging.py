"""Staging: a trained model becomes a recommender, and its files the artifact of a run that is not published yet."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from llmrec_peft import registry
from llmrec_peft.artifact.seen import Seen
from llmrec_peft.artifact.tables import ItemTable
from llmrec_peft.backbone.vector_table import rows_not_finite
from llmrec_peft.data.column_types import column_types
from llmrec_peft.data.order import in_time
from llmrec_peft.errors import NotFiniteError
from llmrec_peft.experiment.prepared import Prepared
from llmrec_peft.experiment.texts import Texts
from llmrec_peft.model import RecModel
from llmrec_peft.model.warm_start import FILE
from llmrec_peft.recipe import Recipe
from llmrec_peft.recipe.sections import ServedSection
from llmrec_peft.recipe.variants import served
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.run.trained_file import write_trained


def recommender_of(
    model: RecModel,
    prepared: Prepared,
    texts: Texts,
    section: ServedSection | None = None,
    recipe: Recipe | None = None,
) -> Recommender:
    """Fold a trained model and give it its catalogue.

    Args:
        model: The final model; folded in place.
        prepared: Data, with the run's resolved recipe.
        texts: The language model over its texts.
        section: What of the recipe the model is, where that was chosen.
        recipe: Recipe that the run is to hold, if it is not the one that the data was prepared for.
    """
    recipe, learned = prepared.recipe if recipe is None else recipe, prepared.protocol.learned
    if section is not None:
        recipe = recipe.changed({"served": section.model_dump(mode="json")})
    vectors: torch.Tensor | None = None
    if model.plan.item:
        keys = np.arange(prepared.vocabulary.num_items)
        if model.encoded is not None:
            with model.encoded.fixed(keys) as encoded:
                vectors = encoded.part(0, len(keys))
        else:
            vectors = texts.items
    _require_finite(vectors, prepared)
    model.fold()
    counts = learned.counts_by_item(prepared.vocabulary.num_items)
    told = model.plan.tells_items
    columns = tuple(prepared.item_rows[1:]) if told else ()
    types = column_types(prepared.dataset.items)
    items = ItemTable(tuple(prepared.titles), prepared.texts[1:], counts[1:], columns, types)
    seen = Seen.of(learned, prepared.interactions)
    return Recommender(
        recipe,
        model,
        prepared.vocabulary,
        items,
        vectors,
        seen.by_user(prepared.vocabulary.num_users),
        prepared.user_rows if told else (),
        _user_vectors(prepared, model, texts),
    )


def _require_finite(vectors: torch.Tensor | None, prepared: Prepared) -> None:
    """Refuse a catalogue in which an item's vector is not finite."""
    wrong = [] if vectors is None else rows_not_finite(vectors).tolist()
    if wrong:
        which = prepared.vocabulary.items[wrong[0] - 1] if wrong[0] else "the unknown item"
        raise NotFiniteError(
            f"the tuned model's vectors of {len(wrong)} items are not finite, first that of item {which!r}:"
            " lower training.adapter.learning_rate, or try backbone.precision=fp32"
        )


def _user_vectors(prepared: Prepared, model: RecModel, texts: Texts) -> torch.Tensor | None:
    """Encode users' texts, [num_users, width]: their own, or the latest example's that tells a history."""
    start = model.plan.user
    if start is None:
        return None
    users = prepared.vocabulary.num_users
    keys = start + np.arange(users)
    if model.plan.user_by_example:
        interactions = prepared.interactions
        order = in_time(interactions.user, interactions.timestamp)
        last = order[np.append(np.diff(interactions.user[order]) != 0, True)]
        keys = np.zeros(users, np.int64)  # who has no example gets the empty text of the unknown item
        keys[interactions.user[last]] = start + last
    if model.encoded is None:
        return texts.untuned[torch.from_numpy(keys).to(texts.untuned.device)]
    with model.encoded.fixed(keys) as encoded:
        return encoded[torch.from_numpy(keys).to(encoded.device)]


def stage(
    folder: Path, recommender: Recommender, prepared: Prepared, texts: Texts, trained: Mapping[str, torch.Tensor]
) -> None:
    """Write the artifact's files into a fresh folder, before another variant trains the same adapter anew.

    Args:
        folder: Folder to write.
        recommender: Result of `recommender_of`.
        prepared: Data.
        texts: The language model over its texts.
        trained: What a later training begins with: `trained_tensors` of the model before it was folded.
    """
    recipe, model = recommender.recipe, recommender.model
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    adapter = served(recipe).adapter
    method = registry.get("adapters", adapter.method)(adapter.config)
    tuned = model.encoder.model if model.encoder is not None else texts.backbone.model
    seen = Seen.of(prepared.protocol.learned, prepared.interactions)
    recommender.save(folder, method, tuned if model.plan.any else None, texts.backbone, seen)
    write_trained(folder / FILE, trained, recommender.model)
