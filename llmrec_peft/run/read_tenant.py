"""Read a run folder into memory: every file verified, and what the files say held against each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from llmrec_peft import registry
from llmrec_peft.artifact.catalogue_file import FILE as CATALOGUE
from llmrec_peft.artifact.catalogue_file import read_catalogue
from llmrec_peft.artifact.manifest import Manifest, is_there
from llmrec_peft.artifact.sealed import Content, SealedFolder
from llmrec_peft.artifact.seen import read_seen
from llmrec_peft.artifact.tables import read_users
from llmrec_peft.backbone.tensor_bytes import tensors_in
from llmrec_peft.backbone.tensor_files import is_finite, load_into
from llmrec_peft.data.vocabulary import Vocabulary
from llmrec_peft.errors import InputError
from llmrec_peft.heads.contract import Joined
from llmrec_peft.known_contents import checking, is_known
from llmrec_peft.model import RecModel, plan_texts
from llmrec_peft.model.build import build_heads, build_model, own_tensors
from llmrec_peft.model.contexts import loading_contexts
from llmrec_peft.model.served_baseline import NAME, Served, empty_baseline, with_baseline
from llmrec_peft.model.text_source import EncodedSource
from llmrec_peft.recipe import Recipe
from llmrec_peft.recipe.variants import served
from llmrec_peft.run.canary import read_canary
from llmrec_peft.run.item_matrix import read_item_matrix, require_rows
from llmrec_peft.run.known_recipes import recipe_of
from llmrec_peft.run.language_model import FILES, LanguageModel, TenantAdapter
from llmrec_peft.run.signal_files import (
    SIGNALS,
    SLACK_BYTES,
    answering_signals,
    built_from,
    first_line,
    room_for,
    stored_parts,
)
from llmrec_peft.run.stored_items import stored_items
from llmrec_peft.run.tenant import LoadedTenant, catalogue_of

VECTORS, HEAD = "item_vectors.safetensors", "head.safetensors"
SEEN, USERS = "seen.safetensors", "users.parquet"
OpenBase = Callable[[Manifest, Recipe], LanguageModel]
"""Returns the frozen base for a run: a new one, or one that is shared."""


def read_tenant(folder: Path, device: torch.device, base: OpenBase, mapped: bool = False) -> LoadedTenant:
    """Read a run folder; a true digest is no proof, so files are also held against each other.

    Each file is read once into memory, and these bytes are hashed and parsed; ids, titles, histories and tensors are
    used where they lie in them. The adapter's files and the texts of items are verified now and read when they are
    needed; learning parts of signals are both verified and read then. What was checked once in this process is hashed
    alone when the same bytes are read again.

    Args:
        folder: Run folder.
        device: Where to compute.
        base: Returns the frozen base, or refuses.
        mapped: Whether the files are mapped in place of being read, see `SealedFolder`.

    Raises:
        InputError: If the folder is not a complete run of this version, or its files do not fit each other.
    """
    sealed = SealedFolder.open(folder, mapped)
    with checking((sealed.manifest.digest, *sealed.withheld())):
        return _read(sealed, device, base)


def _read(sealed: SealedFolder, device: torch.device, base: OpenBase) -> LoadedTenant:
    folder = sealed.folder
    recipe = recipe_of(sealed)
    if registry.get("heads", recipe.head.name).task == "writing":
        raise InputError(f"{folder} holds a writer, not a recommender: it is for llmrec explain --generate --writer")
    kept = read_catalogue(folder / CATALOGUE, sealed.stored(CATALOGUE))
    vocabulary = kept.vocabulary
    if not vocabulary.items:
        raise InputError(f"{folder / CATALOGUE}: there are no items")
    answering = served(recipe)
    model = _load_model(sealed, answering, vocabulary)
    if model.plan.any:
        sealed.verify(FILES)
    stored = _stored_vectors(sealed, model, vocabulary)
    items = stored_items(sealed, kept, columns=model.plan.tells_items)
    if model.plan.tells_items and not items.columns:
        raise InputError(f"{folder / CATALOGUE}: no columns of items, of which the run's prompts are made")
    vectors = stored["text"].to(device) if "text" in stored else None
    side = read_item_matrix(sealed, len(vocabulary.items), room_for(vocabulary))
    if side is not None:
        side = Joined(None if side.vector is None else side.vector.to(device), side.offset.to(device))
    tenant = LoadedTenant(
        recipe=recipe,
        model=model.to(device).eval(),
        vocabulary=vocabulary,
        items=items,
        catalogue=catalogue_of(vocabulary, items, vectors, side),
        seen=read_seen(folder / SEEN, vocabulary, _if_there(sealed, SEEN)),
        users=read_users(folder / USERS, vocabulary.num_users, _if_there(sealed, USERS)),
        user_vectors=stored["user"].to(device) if "user" in stored else None,
        notes=_notes(sealed, vocabulary),
        folder=folder,
        manifest=sealed.manifest,
        adapter=TenantAdapter(folder, sealed.manifest, answering),
        base=base(sealed.manifest, recipe),
        canary=read_canary(sealed, vocabulary.num_users, len(vocabulary.items)),
    )
    if not is_known():  # the same bytes fit each other as they did the first time; it was a quarter of a load
        _require_answers(tenant, folder)
    return tenant


def _notes(sealed: SealedFolder, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Return what whoever reads the answers should know, a line each."""
    lacking = sealed.lacking()
    if not vocabulary.users:
        lacking = f"{sealed.folder} has no users: each one is answered as a new user"
    return tuple(line for line in (lacking, sealed.surplus()) if line is not None)


def _load_model(sealed: SealedFolder, recipe: Recipe, vocabulary: Vocabulary) -> RecModel:
    """Build signals, fusion and heads in the sizes of the saved tensors and fill them."""
    signals_path, head_path = sealed.folder / SIGNALS, sealed.folder / HEAD
    saved, texts = tensors_in(sealed.stored(SIGNALS, room_for(vocabulary)), signals_path)
    of_head, _ = tensors_in(sealed.stored(HEAD, SLACK_BYTES), head_path)
    fusion = {name.removeprefix("fusion."): t for name, t in of_head.items() if name.startswith("fusion.")}
    of_head = {name: tensor for name, tensor in of_head.items() if not name.startswith("fusion.")}
    contexts = loading_contexts(recipe, vocabulary.num_users, vocabulary.num_items)
    with built_from(head_path):
        heads = build_heads(recipe, contexts.head, of_head)
    signals, saved = answering_signals(recipe, vocabulary, saved, texts, signals_path)
    model = build_model(recipe, signals, heads, EncodedSource(plan_texts(recipe, *_rows(vocabulary), 0)))
    if recipe.served is not None and recipe.served.baseline is not None:
        with built_from(signals_path):
            context = replace(contexts.signal, saved=own_tensors(saved, NAME))
            baseline = empty_baseline(recipe.served.baseline, recipe.served.settings, context)
        model = with_baseline(model, baseline, recipe.served.share)
    load_into(model.signal_parts, saved, signals_path)
    load_into(model.head_parts, of_head, head_path)
    load_into(model.fusion, fusion, head_path)
    model.unread = stored_parts(sealed, recipe, vocabulary)
    return model


def read_baseline(sealed: SealedFolder, recipe: Recipe, vocabulary: Vocabulary) -> Served | None:
    """Read the signal with which a run answers with a share of a baseline, without the model; None where it has none.

    Args:
        sealed: Run folder.
        recipe: Its recipe.
        vocabulary: Users and items that it knows.

    Raises:
        InputError: If its tables are missing, or do not fit the recipe.
    """
    if recipe.served is None or recipe.served.baseline is None:
        return None
    path = sealed.folder / SIGNALS
    every, _ = tensors_in(sealed.stored(SIGNALS, room_for(vocabulary)), path)
    saved = own_tensors(every, NAME)
    context = loading_contexts(served(recipe), vocabulary.num_users, vocabulary.num_items).signal
    with built_from(path):
        signal = empty_baseline(recipe.served.baseline, recipe.served.settings, replace(context, saved=saved))
    load_into(signal.parts, saved, path)
    return signal


def _if_there(sealed: SealedFolder, name: str) -> Content:
    """Return a private file's bytes; None if it was not passed on."""
    return sealed.stored(name) if is_there(sealed.folder / name) else None


def _rows(vocabulary: Vocabulary) -> tuple[int, int]:
    return vocabulary.num_items, vocabulary.num_users


def _stored_vectors(sealed: SealedFolder, model: RecModel, vocabulary: Vocabulary) -> dict[str, Tensor]:
    """Read the vectors of items' and users' texts: those that the model reads, and no others.

    Raises:
        InputError: If some are missing or unknown, are no finite matrices of float32 (items' may be of bfloat16), or
            are not one a row.
    """
    path = sealed.folder / VECTORS
    stored, _ = tensors_in(sealed.stored(VECTORS, room_for(vocabulary)), path)
    plan = model.plan
    rows = {"text": vocabulary.num_items} if plan.item else {}
    if plan.user is not None:
        rows["user"] = vocabulary.num_users
    for name in sorted(rows.keys() ^ stored.keys()):
        raise InputError(f"{path}: tensor {name} is {'missing' if name in rows else 'unknown'}")
    for name, tensor in stored.items():
        halved = name == "text" and tensor.dtype == torch.bfloat16
        if not (halved or tensor.dtype == torch.float32) or tensor.ndim != 2 or len(tensor) != rows[name]:  # noqa: PLR2004 - a matrix
            kind = str(tensor.dtype).removeprefix("torch.")
            raise InputError(f"{path}: tensor {name} is {kind} {list(tensor.shape)}, not float32 [{rows[name]}, width]")
        if not (is_known() or is_finite(tensor)):
            raise InputError(f"{path}: tensor {name} holds NaN or infinity")
    return stored


def _require_answers(tenant: LoadedTenant, folder: Path) -> None:
    """Score the first and the last user and item, whose rows every table must have.

    Raises:
        InputError: If the parts do not fit each other: widths, or tables that are too short.
    """
    model, side = tenant.model, tenant.catalogue.side
    users, rows = np.array([0, tenant.vocabulary.num_users - 1]), np.array([0, len(tenant.catalogue.ids) - 1])
    try:
        if not tenant.encodes_to_score:
            tenant.score(users, rows)
        if tenant.encodes_to_score or side is not None:  # a text of the pair's own takes the language model
            index = torch.from_numpy(tenant.catalogue.table_index[rows]).to(model.device)
            with torch.no_grad():
                computed = model.item_side(index, keys=torch.from_numpy(rows + 1).to(model.device))
            if side is not None:
                require_rows(side, computed, torch.from_numpy(rows))
    except (RuntimeError, IndexError, ValueError, TypeError, AttributeError, AssertionError, KeyError) as error:
        raise InputError(f"{folder}: its files do not fit each other ({first_line(error)})") from None
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None
