"""Workload data: sizes, lengths of texts and columns that the memory check needs of a recipe's data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec_peft import registry
from llmrec_peft.backbone.remote_code import decided
from llmrec_peft.errors import InputError
from llmrec_peft.footprint.estimate import CHUNK
from llmrec_peft.recipe import Recipe

if TYPE_CHECKING:
    from llmrec_peft.backbone.load import Backbone
    from llmrec_peft.experiment.prepare import Prepared

USERS, ITEMS, RATINGS_PER_ITEM = 10_000, 5_000, 20
"""What is assumed where no data is given: users, items, and interactions of each item."""

Columns = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class WorkloadData:
    """Sizes of the data on which memory depends.

    Attributes:
        users: Users.
        items: Items.
        lengths: Tokens of each distinct text of items, ascending.
        distinct_tokens: Different token ids among them.
        interactions: Training interactions.
        examples: Interactions of all parts.
        user_columns: What describes users.
        item_columns: What describes items.
        prepared: The data itself, where there is some.
        assumptions: What was assumed.
    """

    users: int
    items: int
    lengths: tuple[int, ...]
    distinct_tokens: int
    interactions: int
    examples: int
    user_columns: Columns = field(default_factory=dict)
    item_columns: Columns = field(default_factory=dict)
    prepared: Prepared | None = None
    assumptions: tuple[str, ...] = ()


@dataclass(frozen=True)
class ViewTexts:
    """Texts of the user view or the prompt view, all as long as the longest may be.

    Attributes:
        number: How many there are.
        of_step: How many a step reads.
        length: Tokens of one.
    """

    number: int
    of_step: int
    length: int


def data_of(recipe: Recipe, folder: Path, users: int | None, items: int | None) -> tuple[Recipe, WorkloadData]:
    """Return the recipe, adapted to its data, and the sizes of that data, or assumed sizes.

    Args:
        recipe: What is to be trained.
        folder: Folder of the backbone's tokenizer.
        users: Users, where the recipe names no data.
        items: Items, where the recipe names no data.

    Raises:
        InputError: When sizes are given beside data, or the tokenizer cannot be read.
    """
    length = recipe.views.item.max_length
    if recipe.data.path is None:
        return _assumed(recipe, users or USERS, items or ITEMS, length)
    if users is not None or items is not None:
        raise InputError("--users and --items are for recipes without data; this one's are counted")
    from llmrec_peft.backbone.base_files import CONFIG, read_config
    from llmrec_peft.backbone.embedding_model import read_embedding_model
    from llmrec_peft.backbone.quiet import refused_in_one_line
    from llmrec_peft.backbone.text_reader import prompt_of
    from llmrec_peft.backbone.tokenizer import load_tokenizer, require_embedded
    from llmrec_peft.data.dataset import columns
    from llmrec_peft.experiment.prepare import prepare

    prepared = prepare(recipe)
    recipe = prepared.recipe
    with refused_in_one_line(f"backbone {recipe.backbone.name}"):
        tokenizer = load_tokenizer(folder, decided(recipe.backbone))
    embedded = read_config(folder / CONFIG).get("vocab_size")
    if isinstance(embedded, int):
        require_embedded(tokenizer, embedded, recipe.backbone.name)
    files = read_embedding_model(folder)
    before = prompt_of("item", recipe.backbone, files)
    length = length if files is None or files.max_length is None else min(length, files.max_length)
    texts = [before + text for text in dict.fromkeys(prepared.texts)]
    rows = tokenizer(texts, truncation=True, max_length=length)["input_ids"]
    dataset, vocabulary = prepared.dataset, prepared.vocabulary
    return recipe, WorkloadData(
        users=len(vocabulary.users),
        items=len(vocabulary.items),
        lengths=tuple(sorted(max(1, len(row)) for row in rows)),
        distinct_tokens=len({token for row in rows for token in row}),
        interactions=len(prepared.learned(recipe.refits)),
        examples=len(prepared.interactions),
        user_columns=columns(dataset.users),
        item_columns=columns(dataset.items),
        prepared=prepared,
    )


def _assumed(recipe: Recipe, users: int, items: int, length: int) -> tuple[Recipe, WorkloadData]:
    """Return assumed sizes, without signals that need a graph or links, and with columns of the reader's demo data."""
    signals = {name: registry.get("signals", name) for name in recipe.signals.active}
    needing = [name for name, signal in signals.items() if signal.reads_graph or signal.reads_links]
    recipe = recipe.changed({f"signals.{name}": False for name in needing})
    assumed = [
        f"no data given: {users:,} users, {items:,} items of {length} tokens, {RATINGS_PER_ITEM} interactions an item"
        " (change with --data, --users, --items)"
    ]
    if needing:
        assumed.append(f"without data no signal {', '.join(needing)}")
    of_users, of_items = _demo_columns(recipe, users, items)
    if of_users or of_items:
        assumed.append(f"columns as in the demo data of {recipe.data.reader}")
    count = items * RATINGS_PER_ITEM
    lengths = (length,) * items
    return recipe, WorkloadData(users, items, lengths, 10**9, count, count, of_users, of_items, None, tuple(assumed))


def _demo_columns(recipe: Recipe, users: int, items: int) -> tuple[Columns, Columns]:
    """Return the columns of the reader's demo data, repeated; none where no signal asks for any.

    Raises:
        InputError: When a signal asks for columns that not even the demo data has.
    """
    from llmrec_peft.data.dataset import columns
    from llmrec_peft.experiment.prepare import DEMO_SEED, require_useful

    prompts = recipe.reads.prompt
    if all(signal.refusal((), (), prompts) is None for signal in recipe.reads.signals.values()):
        return {}, {}
    demo = registry.get("readers", recipe.data.reader)().demo(DEMO_SEED)
    require_useful(recipe, demo)
    tables = [
        {name: [values[row % len(values)] for row in range(count)] for name, values in columns(table).items()}
        for table, count in ((demo.users, users), (demo.items, items))
    ]
    return tables[0], tables[1]


def examples_of_step(recipe: Recipe, data: WorkloadData) -> int:
    """Return the number of interactions of the largest step."""
    training = recipe.training
    if training.batching == "by-item":
        return -(-data.interactions * min(training.items_per_batch, data.items) // data.items)
    if training.batching == "by-user":
        return -(-data.interactions * min(training.users_per_batch, data.users) // data.users)
    return min(training.batch_size, data.interactions)


def view_texts(recipe: Recipe, data: WorkloadData, backbone: Backbone) -> list[ViewTexts]:
    """Return the texts of users and prompts that the recipe reads."""
    from llmrec_peft.model import plan_texts

    plan, views = plan_texts(recipe, data.items + 1, data.users + 1, data.examples), recipe.views
    step = examples_of_step(recipe, data)
    texts = []
    if plan.user is not None and views.user is not None:
        number = data.examples if plan.user_by_example else data.users
        texts.append(ViewTexts(number, min(step, number), min(views.user.max_length, backbone.window)))
    if plan.prompt is not None and views.prompt is not None:
        texts.append(ViewTexts(data.examples, step, min(views.prompt.max_length, backbone.window)))
    return texts


def chunks_of_step(recipe: Recipe, data: WorkloadData, others: Sequence[ViewTexts]) -> tuple[tuple[int, int], ...]:
    """Return rows and length of the chunks of a step over typical texts, shortest first."""
    lengths, rows = np.asarray(data.lengths), _items_of_step(recipe, data)
    chunks = []
    for at in range(0, rows, CHUNK):
        end = min(at + CHUNK, rows)
        chunks.append((end - at, int(lengths[min(len(lengths) - 1, -(-end * len(lengths) // rows) - 1)])))
    for texts in others:
        chunks += [(min(CHUNK, texts.of_step - at), texts.length) for at in range(0, texts.of_step, CHUNK)]
    return tuple(sorted(chunks, key=lambda chunk: chunk[1]))


def _items_of_step(recipe: Recipe, data: WorkloadData) -> int:
    """Distinct texts of items that a step encodes: of its own items, and, read fresh, of histories and candidates."""
    from llmrec_peft.model import plan_texts

    training, plan = recipe.training, plan_texts(recipe, data.items + 1, data.users + 1, data.examples)
    step = examples_of_step(recipe, data)
    if not plan.item and plan.prompt is not None:
        return 0
    rows = training.items_per_batch if training.batching == "by-item" else step
    if training.batching == "by-user":
        return min(2 * step, len(data.lengths))  # a history's items are the batch's own, but for cut sequences
    if training.other_texts == "fresh":
        if plan.history:
            rows += step * recipe.data.history_length
        for negatives in filter(None, (head.negatives() for head in recipe.reads.heads.values())):
            rows += data.items if negatives.kind == "catalogue" else negatives.count + negatives.hard * step
    return min(rows, len(data.lengths))
