"""Signal folding: after training a signal drops single interactions, keeps its outputs, and is restored from a file."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from llmrec_peft.backbone.tensor_files import load_into, read_tensors, write_tensors
from llmrec_peft.data.histories import Histories
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.errors import InputError
from llmrec_peft.model.learning_parts import drop_learning_parts
from llmrec_peft.signals.contract import Signal
from llmrec_peft.testing.heads.bench import close
from llmrec_peft.testing.outcome import Outcome
from llmrec_peft.testing.signals.bench import SignalBench, trained
from llmrec_peft.testing.signals.checks import moved

ROUNDING = 1e-4
"""Allowed change by folding, relative to 1 plus the value: sums are computed in another order."""


def folding_keeps_what_is_said(bench: SignalBench) -> Outcome:
    """Check that `fold` changes no output: for unknown users and items, those without interactions, and all others."""
    signal, batch = moved(bench), bench.asked()
    with torch.no_grad():
        before = bench.said(signal, batch).named()
        signal.fold()
        after = bench.said(signal, batch).named()
        signal.fold()  # a second call has nothing left to do
    differ = [name for name in before if name not in after or not close(after[name], before[name], ROUNDING)]
    return Outcome(not differ, note=f"{differ[0]}: differs after folding" if differ else "")


def folding_forgets_interactions(bench: SignalBench) -> Outcome:
    """Check that after `fold` neither parts nor attributes contain the training interactions.

    It looks for `Interactions` and `Histories` themselves, and for tensors and arrays with a row for each training
    interaction, or a cell for each user and item.
    """
    signal = moved(bench)
    signal.fold()
    for where, value in _stored(signal):
        if isinstance(value, Interactions | Histories):
            return Outcome(False, note=f"{where} still holds the interactions")
        if _looks_like(value, bench):
            return Outcome(False, note=f"{where} of shape {list(value.shape)} still holds single interactions")
    return Outcome(True)


def _stored(signal: Signal[Any]) -> Iterator[tuple[str, Any]]:
    """Yield everything that a signal stores: attributes, and attributes, parameters and buffers of its parts."""
    waiting: list[tuple[str, Any]] = [(name, value) for name, value in vars(signal).items() if name != "config"]
    seen: set[int] = set()
    while waiting:
        where, value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield where, value
        if isinstance(value, nn.Module):
            inner: dict[str, Any] = {**dict(value.named_parameters(recurse=False)), **dict(value.named_children())}
            inner |= dict(value.named_buffers(recurse=False))
            inner |= {name: own for name, own in vars(value).items() if not name.startswith("_")}
            waiting += [(f"{where}.{name}", own) for name, own in inner.items()]
        elif isinstance(value, dict):
            waiting += [(f"{where}.{name}", own) for name, own in value.items()]
        elif isinstance(value, list | tuple | set) and len(value) < 1000:  # noqa: PLR2004 - plain numbers are no parts
            waiting += [(f"{where}[{at}]", own) for at, own in enumerate(value)]


def _looks_like(value: Any, bench: SignalBench) -> bool:
    world, shape = bench.world, list(getattr(value, "shape", ()))
    if isinstance(value, list | tuple) and len(value) == len(world.train):
        return True
    if not isinstance(value, Tensor | np.ndarray):
        return False
    if isinstance(value, Tensor) and value.layout != torch.strided:
        return True  # a table of users and items has no empty cells
    return len(world.train) in shape or shape in (
        [world.num_users, world.num_items],
        [world.num_items, world.num_users],
    )


def saves_and_loads(bench: SignalBench) -> Outcome:
    """Check that a folded signal, loaded by safetensors into one built from its tensors, has the same outputs.

    It is loaded whole, and without the tensors and parts that it says no answer reads (`Signal.learning_parts`).
    """
    signal = moved(bench)
    signal.fold()
    state, batch = signal.parts.state_dict(), bench.asked()
    with tempfile.TemporaryDirectory(prefix="llmrec-testing-") as work:
        path = Path(work) / "signals.safetensors"
        write_tensors(path, state)
        saved = read_tensors(path)
        names = json.loads(json.dumps(signal.names()))
        answering = {name: t for name, t in saved.items() if name.partition(".")[0] not in signal.learning_parts}
        others = {"": bench.empty(saved, names)}
        if len(answering) < len(saved):
            others[" without learning_parts"] = bench.empty(answering, names)
            drop_learning_parts(others[" without learning_parts"])
        try:
            for how, other in others.items():
                load_into(other.parts, answering if how else saved, path)
        except InputError as error:
            return Outcome(False, note=str(error).removeprefix(f"{path}: "))
    with torch.no_grad():
        expected = bench.said(signal, batch).named()
        for how, other in others.items():
            found = bench.said(other, batch).named()
            differ = [name for name in expected if name not in found or not close(found[name], expected[name], 1e-6)]
            if differ:
                return Outcome(False, len(state), note=f"{differ[0]}: differs after loading{how}")
            if other.names() != names:
                return Outcome(False, note=f"names() differ after loading{how}")
    return Outcome(True, len(state))


def remembers_what_it_folded(bench: SignalBench) -> Outcome | None:
    """Check that `remember` restores a folded copy's outputs, and that `follow` reads outcomes and keeps weights."""
    if bench.signal_class.remember is Signal.remember and bench.signal_class.follow is Signal.follow:
        return None
    signal, batch = moved(bench), bench.asked()
    with torch.no_grad():
        before = bench.said(signal, batch).named()
        signal.fold()
        other = copy.deepcopy(signal)
        other.parts.eval()
        other.remember(bench.world.train)
        other.parts.eval()
        after = bench.said(other, batch).named()
        differ = [name for name in before if name not in after or not close(after[name], before[name], ROUNDING)]
        if differ:
            return Outcome(False, note=f"{differ[0]}: differs after remember() from before fold()")
        weights = {name: parameter.clone() for name, parameter in trained(other).items()}
        other.follow(bench.batch(bench.world.held_out, np.arange(5), labelled=True))
        said = bench.said(other, batch).named()
    wrong = [name for name, value in said.items() if not bool(value.isfinite().all())]
    changed = [name for name, p in trained(other).items() if name in weights and not p.equal(weights[name])]
    if wrong:
        return Outcome(False, note=f"{wrong[0]}: not finite after follow()")
    return Outcome(not changed, note=f"follow() moves {changed[0]}" if changed else "")


FOLDING: dict[str, Callable[[SignalBench], Outcome | None]] = {
    check.__name__: check
    for check in (
        folding_keeps_what_is_said,
        folding_forgets_interactions,
        saves_and_loads,
        remembers_what_it_folded,
    )
}
