"""Fit check: whether a recipe's training fits into a memory, by how much, and which settings would."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec_peft import registry
from llmrec_peft.backbone.preflight import refusal, require_possible
from llmrec_peft.errors import InputError
from llmrec_peft.footprint.estimate import CHUNK, Footprint, Plan, Workload, estimate
from llmrec_peft.recipe import Recipe

if TYPE_CHECKING:
    import torch

    from llmrec_peft.footprint.rehearsal import Rehearsal
    from llmrec_peft.workflows.prepare import Prepared

USERS, ITEMS, RATINGS_PER_ITEM = 10_000, 5_000, 20
"""What is assumed where no data is given: users, items, and interactions of each item."""
_MOST = 5
"""Settings that are offered."""


@dataclass(frozen=True)
class Data:
    """What `fit` has to know of the data.

    Attributes:
        users: Users.
        items: Items.
        lengths: Tokens of each distinct text.
        distinct_tokens: Different token ids among the texts.
        interactions: Training interactions.
        prepared: The data itself, where there is some.
        assumptions: What was assumed.
    """

    users: int
    items: int
    lengths: tuple[int, ...]
    distinct_tokens: int
    interactions: int
    prepared: Prepared | None = None
    assumptions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Setting:
    """Another way to run a recipe that fits.

    Attributes:
        changes: Fields and values, as after ``--set``.
        total: Bytes it takes.
    """

    changes: dict[str, Any]
    total: int


def footprint_of(
    recipe: Recipe, users: int | None = None, items: int | None = None, cuda: bool | None = None
) -> Footprint:
    """Memory that training a recipe takes, by part and phase; no weights are read.

    Args:
        recipe: What is to be trained.
        users: Users, where the recipe names no data.
        items: Items, where the recipe names no data.
        cuda: Whether on a CUDA device; None for what this machine has.

    Raises:
        InputError: When the recipe is impossible, or its backbone's configuration cannot be found.
    """
    require_possible(recipe)
    recipe, data = _data(recipe, users, items)
    return _footprint(recipe, data, _on_cuda() if cuda is None else cuda)


def check(recipe: Recipe, budget: int, users: int | None, items: int | None, cuda: bool) -> dict[str, Any]:
    """The answer of `llmrec fit` as plain values.

    Args:
        recipe: What is to be trained.
        budget: Bytes that there are.
        users: Users, where the recipe names no data.
        items: Items, where the recipe names no data.
        cuda: Whether the memory is a card's.
    """
    require_possible(recipe)
    recipe, data = _data(recipe, users, items)
    found = _footprint(recipe, data, cuda)
    fits = found.total <= budget
    settings = [] if fits else settings_that_fit(recipe, data, budget, cuda)
    return {
        "recipe": recipe.name,
        "backbone": recipe.backbone.name,
        "adapter": recipe.adapter.method,
        "device": "cuda" if cuda else "cpu",
        "budget": budget,
        "fits": fits,
        "spare": budget - found.total,
        **found.plain(),
        "settings": [{"changes": s.changes, "total": s.total, "spare": budget - s.total} for s in settings],
    }


def settings_that_fit(recipe: Recipe, data: Data, budget: int, cuda: bool) -> list[Setting]:
    """Settings that fit, those that change the recipe least first."""
    found: list[Setting] = []
    for changes in _changes(recipe):
        try:
            changed = recipe.changed(changes)
            require_possible(changed)
        except InputError:
            continue
        total = _footprint(changed, data, cuda).total
        if total <= budget:
            found.append(Setting(changes, total))
        if len(found) == _MOST:
            break
    return found


def budget_here(cuda: bool) -> int:
    """The CUDA device's memory, or the machine's free memory."""
    if cuda:
        import torch

        return int(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)
    import psutil

    return int(psutil.virtual_memory().available)


def _on_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _changes(recipe: Recipe) -> list[dict[str, Any]]:
    """What might be changed: results stay the same, then batches, layers, and last the base's precision."""
    section = recipe.training
    recompute: dict[str, Any] = {} if section.gradient_checkpointing else {"training.gradient_checkpointing": True}
    field = "items_per_batch" if section.batching == "by-item" else "batch_size"
    size: int = getattr(section, field)
    smaller = [{f"training.{field}": size // part} for part in (2, 4, 8) if size // part >= 1]
    ways: list[dict[str, Any]] = [recompute] if recompute else []
    ways += smaller
    ways += [{**recompute, **way} for way in smaller if recompute]
    if getattr(recipe.adapter.config, "layers", None) == "all":
        ways += [{"adapter.layers": f"top-{count}"} for count in (8, 4, 2)]
    name, config = recipe.adapter.method, recipe.adapter.config
    for quantization in ("int8", "nf4"):
        if recipe.backbone.quantization == "none" and refusal(name, config, None, quantization) is None:
            quantized = {"backbone.quantization": quantization}
            ways += [quantized, {**quantized, **recompute}] if recompute else [quantized]
            ways += [{**quantized, **recompute, **way} for way in smaller[-1:]]
    return ways


def _data(recipe: Recipe, users: int | None, items: int | None) -> tuple[Recipe, Data]:
    """Sizes of the recipe's data, or assumed ones."""
    length = recipe.views.item.max_length
    if recipe.data.path is None:
        needing = [n for n in recipe.signals.active if registry.get("signals", n).reads_graph]
        recipe = recipe.changed({f"signals.{name}": False for name in needing})
        people, films = users or USERS, items or ITEMS
        said = [f"no data given: {people:,} users, {films:,} items of {length} tokens,"]
        said[0] += f" {RATINGS_PER_ITEM} interactions an item (--data, --users, --items say otherwise)"
        if needing:
            said.append(f"without data no signal {', '.join(needing)}")
        return recipe, Data(people, films, (length,) * films, 10**9, films * RATINGS_PER_ITEM, None, tuple(said))
    if users is not None or items is not None:
        raise InputError("--users and --items are for recipes without data; this one's are counted")
    from transformers import AutoTokenizer

    from llmrec_peft.workflows.prepare import prepare

    recipe, prepared = prepare(recipe)
    try:
        tokenizer = AutoTokenizer.from_pretrained(_folder(recipe))
    except (OSError, ValueError) as error:
        raise InputError(f"backbone {recipe.backbone.name}: {str(error).strip().splitlines()[0]}") from None
    rows = tokenizer(list(dict.fromkeys(prepared.texts)), truncation=True, max_length=length)["input_ids"]
    lengths = tuple(sorted(max(1, len(row)) for row in rows))
    distinct = len({token for row in rows for token in row})
    vocabulary = prepared.vocabulary
    learned = prepared.learned(recipe.refits)
    users, items = len(vocabulary.users), len(vocabulary.items)
    return recipe, Data(users, items, lengths, distinct, len(learned), prepared)


def _footprint(recipe: Recipe, data: Data, cuda: bool) -> Footprint:
    from llmrec_peft.footprint.rehearsal import bare_on_meta

    section = recipe.backbone
    dtype, quantized = _dtype(section.precision, cuda), section.quantization != "none"
    folder = _folder(recipe)
    backbone = bare_on_meta(folder, dtype, section.trust_remote_code)
    stored = _stored(folder)
    tables, head = _outside(recipe, data, backbone.width)
    chunks, examples = _chunks(recipe, data)
    work = Workload(
        items=data.items,
        texts=len(data.lengths),
        tokens=sum(data.lengths),
        chunks=chunks,
        longest=max(data.lengths),
        distinct_tokens=data.distinct_tokens,
        examples=examples,
        tables=tables,
        head=head,
        dim=recipe.fusion.dim,
    )
    training = recipe.training
    plan = Plan(
        cuda, quantized, stored, dtype.itemsize, training.average > 0, training.refit is True, training.trunk_mb
    )
    assumptions = (*data.assumptions, *(["on CUDA the formula is not measured"] if cuda else []))
    return estimate(_rehearsed(recipe, backbone, work), work, plan, assumptions)


def _rehearsed(recipe: Recipe, backbone: Any, work: Workload) -> Rehearsal:
    from llmrec_peft.footprint.rehearsal import rehearse

    method = registry.get("adapters", recipe.adapter.method)(recipe.adapter.config)
    section, training = recipe.backbone, recipe.training
    rows, length = work.largest
    recompute = training.gradient_checkpointing
    return rehearse(backbone, method, section.quantization, recompute, rows, length, section.pooling)


def _chunks(recipe: Recipe, data: Data) -> tuple[tuple[tuple[int, int], ...], int]:
    """Rows and length of the chunks of a step over typical texts, shortest first, and its interactions."""
    training = recipe.training
    lengths = np.asarray(sorted(data.lengths))
    if training.batching == "by-item":
        rows = min(training.items_per_batch, len(lengths))
        examples = -(-data.interactions * min(training.items_per_batch, data.items) // data.items)
    else:
        rows, examples = min(training.batch_size, len(lengths)), min(training.batch_size, data.interactions)
    chunks = []
    for at in range(0, rows, CHUNK):
        end = min(at + CHUNK, rows)
        chunks.append((end - at, int(lengths[min(len(lengths) - 1, -(-end * len(lengths) // rows) - 1)])))
    return tuple(chunks), examples


def _outside(recipe: Recipe, data: Data, width: int) -> tuple[int, int]:
    """Parameters of tables, and of projections and head, by building them."""
    import torch

    from llmrec_peft.data.interactions import Interactions
    from llmrec_peft.heads.contract import HeadContext
    from llmrec_peft.model.build import build_heads, build_model, build_signals
    from llmrec_peft.signals.contract import SignalContext

    prepared = data.prepared
    if prepared is None:
        one = np.ones(1, np.int64)
        train = Interactions(one, one, np.ones(1, np.float32), one)
    else:
        train = prepared.learned(recipe.refits)
    context = SignalContext(
        num_users=data.users + 1,
        num_items=data.items + 1,
        dim=recipe.fusion.dim,
        train=train,
        text=torch.zeros(1, width).expand(data.items + 1, width),
        neighbours=None if prepared is None else prepared.neighbours,
    )
    heads = build_heads(recipe, HeadContext(recipe.fusion.dim, 3.0, (1.0, 5.0), text_width=width))
    groups = build_model(recipe, build_signals(recipe, context), heads, None, context.text).parameter_groups()
    count = {name: sum(p.numel() for _, p in members) for name, members in groups.items()}
    return count["embeddings"], count["head"]


def _folder(recipe: Recipe) -> Path:
    """Folder with the backbone's ``config.json``; weights need not lie there."""
    from llmrec_peft.backbone.locate import locate

    name = recipe.backbone.name
    if name not in registry.plugins("backbones"):
        folder = Path(name).expanduser()
        if folder.is_dir():
            if not (folder / "config.json").is_file():
                raise InputError(f"backbone.name: {folder} holds no config.json")
            return folder
    else:
        embedded: Path | None = registry.get("backbones", name).embedded()
        if embedded is not None and (embedded / "config.json").is_file():
            return embedded
    return locate(name, recipe.backbone.revision).folder


def _dtype(precision: str, cuda: bool) -> torch.dtype:
    import torch

    from llmrec_peft.backbone.precision import resolve_precision

    if precision == "auto" and cuda:
        return torch.bfloat16  # what every card since 2020 computes in
    return resolve_precision(precision, torch.device("cpu"))


def _stored(folder: Path) -> int:
    """Bytes a weight takes in its file: the number format that the configuration names, fp32 where it names none."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    named = str(config.get("dtype") or config.get("torch_dtype") or "float32").removeprefix("torch.")
    return {"float32": 4, "float64": 8}.get(named, 2)
