"""Signal checks: the rules for every signal in evaluation and training, one function per rule.

Each function takes a `SignalBench` and returns an `Outcome`, or None if the rule does not apply.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from llmrec_peft.data.batches import Batch
from llmrec_peft.signals.contract import Signal
from llmrec_peft.testing.heads.bench import close
from llmrec_peft.testing.outcome import Outcome
from llmrec_peft.testing.signals.bench import CARRIES, SEED, SignalBench, trained
from llmrec_peft.testing.signals.learning import learn, steps
from llmrec_peft.testing.signals.world import HIDDEN, LENGTH

Check = Callable[[SignalBench], Outcome | None]
AGREES = 1e-4
"""Relative difference between a pair's offset and the sum of its terms that counts as rounding."""


def moved(bench: SignalBench, seed: int = SEED) -> Signal[Any]:
    """Make a signal with trained parameters away from their initial values."""
    signal = bench.fresh(seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in trained(signal).values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return signal


def outputs_are_sound(bench: SignalBench) -> Outcome:
    """Check that vectors are [B, dim], offsets [B], cross [B, C], tokens [B, k, hidden], float32, finite, not all None.

    The batch contains exactly what the signal declares that it reads, and the unknown user and item.
    """
    signal, batch = moved(bench), bench.asked()
    count, count_of = len(batch), 0
    every = torch.arange(1, bench.world.num_items)
    with torch.no_grad():
        said = bench.said(signal, batch).named()
        own = signal.cross(batch, batch.item[:, None])
        said |= {} if own is None else {"cross": own}
        shared = signal.cross(bench.among(batch, every), every[None, :])
        said |= {} if shared is None else {"cross of shared candidates": shared}
    shapes = {
        "user": (count, bench.dim),
        "item": (count, bench.dim),
        "offset": (count,),
        "cross": (count, 1),
        "tokens": (count, signal.token_count(), HIDDEN),
        "cross of shared candidates": (count, len(every)),
    }
    for name, value in said.items():
        count_of += 1
        if bench.signal_class.inserts_tokens and name != "tokens":
            return Outcome(False, note=f"{name}: a signal that inserts tokens gives nothing else")
        if tuple(value.shape) != shapes[name]:
            return Outcome(False, note=f"{name}: shape {list(value.shape)}, not {list(shapes[name])}")
        if value.dtype != torch.float32:
            return Outcome(False, note=f"{name}: {value.dtype}, not float32")
        if not bool(value.isfinite().all()):
            row = int((~value.isfinite()).reshape(count, -1).any(1).nonzero()[0])
            who = f"user {int(batch.user[row])} and item {int(batch.item[row])}"
            return Outcome(False, note=f"{name}: not finite for {who} (0 is the unknown one)")
    return Outcome(count_of > 0, count_of, note="" if count_of else "no output: user, item, offset, cross are all None")


def asking_is_deterministic(bench: SignalBench) -> Outcome:
    """Check that a signal in evaluation mode returns the same bit for bit when called twice."""
    signal, batch = moved(bench), bench.asked()
    with torch.no_grad():
        one, other = bench.said(signal, batch).named(), bench.said(signal, batch).named()
    differ = [name for name in one if not one[name].equal(other[name])]
    return Outcome(not differ, note=f"{differ[0]}: two calls give different results" if differ else "")


def labels_are_not_read(bench: SignalBench) -> Outcome:
    """Check that nothing depends on `batch.label` in evaluation mode."""
    signal, batch = moved(bench), bench.asked()
    told = replace(batch, label=torch.linspace(1.0, 5.0, len(batch)))
    return _same(bench, signal, batch, told, "differs with and without labels")


def examples_stand_alone(bench: SignalBench) -> Outcome:
    """Check that an example's outputs do not depend on the other examples of its batch."""
    signal, batch = moved(bench), bench.asked()
    with torch.no_grad():
        whole = bench.said(signal, batch).named()
        for row in (1, len(batch) - 1):
            alone = bench.said(signal, _rows(batch, torch.tensor([row]))).named()
            for name, value in whole.items():
                if name not in alone or not close(alone[name][0], value[row]):
                    return Outcome(False, note=f"{name}: differs for an example alone and in a batch")
    return Outcome(True)


def both_ways_agree(bench: SignalBench) -> Outcome | None:
    """Check that a pair and a candidate have one score: items for all users, and users for all items, are the same.

    Candidates are asked alone: unknown users, no labels, no histories. A pair's `offset` is the sum of the user's, the
    item's alone, and `cross` of the candidate.
    """
    if bench.signal_class.inserts_tokens:
        return None
    signal, batch = moved(bench), bench.asked()
    alone, turned = bench.candidates(batch.item), bench.with_texts(replace(batch, item=batch.item.flip(0)))
    every = torch.arange(bench.world.num_items)
    with torch.no_grad():
        cross = signal.cross(bench.among(batch, every), every[None, :])
        own = None if cross is None else cross.gather(1, batch.item[:, None]).squeeze(1)
        terms = [signal.user_offset(batch), signal.item_offset(alone), own]
        for name, checks, expected in (
            ("item: differs when items are asked alone", signal.item(alone), signal.item(batch)),
            ("user: differs with another item", signal.user(turned), signal.user(batch)),
            ("user_offset: differs with another item", signal.user_offset(turned), signal.user_offset(batch)),
            ("offset: not the sum of user_offset, item_offset and cross", _sum(terms), signal.offset(batch)),
        ):
            if (checks is None) != (expected is None) or (
                checks is not None and expected is not None and not close(checks, expected, AGREES)
            ):
                return Outcome(False, note=name)
    return Outcome(True)


def _sum(terms: list[Tensor | None]) -> Tensor | None:
    """Return the sum of the terms that are not None."""
    given = [term for term in terms if term is not None]
    return torch.stack(given).sum(0) if given else None


def candidates_agree(bench: SignalBench) -> Outcome | None:
    """Check that an item's `cross` is the same among shared candidates and in a pair."""
    signal, batch = moved(bench), bench.asked()
    every = torch.arange(bench.world.num_items)
    for asked in (batch, bench.with_texts(replace(batch, item=batch.item.flip(0)))):
        with torch.no_grad():
            own, shared = (
                signal.cross(asked, asked.item[:, None]),
                signal.cross(bench.among(asked, every), every[None, :]),
            )
        if shared is None and own is None:
            return None
        if shared is None or own is None or not close(own, shared.gather(1, asked.item[:, None])):
            return Outcome(False, note="cross of an item differs among shared candidates and in a pair")
    return Outcome(True)


def padding_changes_nothing(bench: SignalBench) -> Outcome | None:
    """Check that more padding, whatever vectors it has, changes nothing, and that empty histories are finite."""
    if not bench.signal_class.reads_history:
        return None
    signal, batch = moved(bench), bench.asked()
    there = _entries(batch)
    cut = {name: value[:, -(LENGTH - 3) :] for name, value in there.items()}
    noise = {name: torch.randn(len(batch), 3, *value.shape[2:]) for name, value in cut.items()}
    noise["history"] = torch.zeros(len(batch), 3, dtype=torch.int64)
    wide = {name: torch.cat([noise[name], value], dim=1) for name, value in cut.items()}
    outputs = _same(
        bench, signal, _with_entries(batch, cut), _with_entries(batch, wide), "differs when a history is padded further"
    )
    if not outputs.ok:
        return outputs
    none = {name: torch.zeros_like(value[:, :3]) for name, value in there.items()}
    for who, changed in (
        ("without any interaction", none),
        (
            "without any interaction, in a batch of such users",
            {name: value[:, :0] for name, value in none.items()},
        ),
        ("whose histories have no times", {**there, "history_age": None}),
    ):
        with torch.no_grad():
            said = bench.said(signal, _with_entries(batch, changed)).named()
        wrong = [name for name, value in said.items() if not bool(value.isfinite().all())]
        if wrong:
            return Outcome(False, note=f"{wrong[0]}: not finite for users {who}")
    return outputs


def _entries(batch: Batch) -> dict[str, Tensor]:
    """Return a batch's tensors of history entries, [B, L, ...] each; ``text`` stands for their vectors."""
    fields_of = {name: getattr(batch, name) for name in ("history", "history_label", "history_age")}
    entries = {**fields_of, "text": batch.vectors.get("history")}
    return {name: value for name, value in entries.items() if value is not None}


def _with_entries(batch: Batch, entries: Mapping[str, Tensor | None]) -> Batch:
    """Return the batch with other entries, named as in `_entries`."""
    changed = replace(batch, **{name: value for name, value in entries.items() if name != "text"})  # type: ignore[arg-type]
    texts = entries.get("text")
    return changed if texts is None else changed.with_vectors(history=texts)


def inputs_stay_as_they_are(bench: SignalBench) -> Outcome:
    """Check that the batch is not modified."""
    signal, batch, kept = moved(bench), bench.asked(), bench.asked()
    signal.parts.train()
    bench.said(signal, batch)
    given, expected = _tensors(batch), _tensors(kept)
    changed = [name for name, value in expected.items() if not given[name].equal(value)]
    return Outcome(not changed, note=f"writes into batch.{changed[0]}" if changed else "")


def is_deterministic(bench: SignalBench) -> Outcome:
    """Check that two trainings from one seed end bit for bit alike."""
    one, other = steps(bench, 3), steps(bench, 3)
    differ = [name for name in one if name not in other or not one[name].equal(other[name])]
    return Outcome(not differ, len(differ), 0, f"{differ[0]} differs" if differ else "")


def carries_the_label(bench: SignalBench) -> Outcome | None:
    """Check that training teaches the signal more about held-out pairs than a constant in its place learns.


    After training on data whose labels depend on its inputs, the signal explains more variance of held-out pairs than
    a model with a constant in its place. Rankings do not depend on what is the same for all items; signals that return
    nothing else are left out there.
    """
    learnt = bench.learnt = learn(bench)
    if bench.ranks and learnt.gain < CARRIES and _same_for_all_items(bench, learnt.signal):
        return None
    note = (
        f"{'rank share' if bench.ranks else 'explained variance'} {learnt.alone:.3f} without it, rate {learnt.rate:g}"
    )
    return Outcome(learnt.gain >= CARRIES, learnt.gain, CARRIES, f"gain {learnt.gain:.3f}; {note}")


def _same_for_all_items(bench: SignalBench, signal: Signal[Any]) -> bool:
    every = torch.arange(1, bench.world.num_items)
    with torch.no_grad():
        offset = signal.item_offset(bench.candidates(every))
        batch = bench.asked()
        silent = signal.item(batch) is None and signal.user(batch) is None
        cross = signal.cross(bench.among(batch, every), every[None, :])
        return silent and cross is None and (offset is None or float(offset.std()) == 0.0)


def gradient_reaches_its_parts(bench: SignalBench) -> Outcome | None:
    """Check that each trained parameter had a nonzero gradient in some step of ratings (rankings have no user bias)."""
    if bench.ranks or bench.learnt is None:
        return None
    idle = sorted(set(trained(bench.learnt.signal)) - bench.learnt.moved)
    return Outcome(not idle, len(bench.learnt.moved), note=f"no gradient ever reached {idle[0]}" if idle else "")


def penalty_is_a_scalar(bench: SignalBench) -> Outcome | None:
    """Check that `penalty` is None or a finite scalar."""
    if bench.learnt is None:
        return None
    for penalty in bench.learnt.penalties:
        if penalty is None:
            continue
        if not isinstance(penalty, Tensor) or penalty.ndim or not bool(penalty.isfinite()):
            return Outcome(False, note=f"penalty is no finite scalar: {penalty!r:.80}")
    return Outcome(True)


def report_is_plain(bench: SignalBench) -> Outcome:
    """Check that `report` and `names` return values that JSON can represent."""
    signal = moved(bench)
    for plain in (signal.report(), signal.names()):
        try:
            json.dumps(plain, allow_nan=False)
        except (TypeError, ValueError) as error:
            return Outcome(False, note=f"not plain: {error}")
        if not isinstance(plain, dict):
            return Outcome(False, note="not a dictionary")
    return Outcome(True)


def _same(bench: SignalBench, signal: Signal[Any], one: Batch, other: Batch, message: str) -> Outcome:
    with torch.no_grad():
        expected, outputs = bench.said(signal, one).named(), bench.said(signal, other).named()
    differ = [name for name in expected if name not in outputs or not close(outputs[name], expected[name])]
    return Outcome(not differ, note=f"{differ[0]}: {message}" if differ else "")


def _tensors(batch: Batch) -> dict[str, Tensor]:
    """Return all tensors of a batch by name."""
    tensors = {field.name: value for field in fields(Batch) if isinstance(value := getattr(batch, field.name), Tensor)}
    return {**tensors, **{f"vectors[{view}]": value for view, value in batch.vectors.items()}}


def _rows(batch: Batch, rows: Tensor) -> Batch:
    cut = {field.name: v[rows] for field in fields(Batch) if isinstance(v := getattr(batch, field.name), Tensor)}
    return replace(batch, **cut, vectors={view: value[rows] for view, value in batch.vectors.items()})


BEHAVIOUR: dict[str, Check] = {
    check.__name__: check
    for check in (
        outputs_are_sound,
        asking_is_deterministic,
        labels_are_not_read,
        examples_stand_alone,
        both_ways_agree,
        candidates_agree,
        padding_changes_nothing,
        inputs_stay_as_they_are,
        is_deterministic,
        carries_the_label,
        gradient_reaches_its_parts,
        penalty_is_a_scalar,
        report_is_plain,
    )
}
