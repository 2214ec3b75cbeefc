"""Head checks: the rules for every task head, whatever it is trained on, one function per rule.

Each function takes a `HeadBench` and returns an `Outcome`, or None if the rule does not apply.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llmrec_peft.backbone.tensor_files import load_into, read_tensors, write_tensors
from llmrec_peft.data.negatives import Negatives
from llmrec_peft.errors import InputError
from llmrec_peft.heads.contract import Joined, TaskHead
from llmrec_peft.testing.heads.bench import CANDIDATES, EXAMPLES, HeadBench, Inputs, Mode, close, trained
from llmrec_peft.testing.outcome import Outcome

Check = Callable[[HeadBench], Outcome | None]
ROUNDING = 1e-5
"""Decrease of a score that counts as rounding of fp32 sums."""


def scores_are_sound(bench: HeadBench) -> Outcome:
    """Check that scores in every mode are float32 [B] or [B, C], finite and detached, also if a side has no vector."""
    head = bench.moved()
    for mode in bench.modes:
        for count, case in ((EXAMPLES, ""), (1, "one example"), (EXAMPLES, "user"), (EXAMPLES, "item")):
            given = bench.inputs(mode, labelled=False, count=count)
            if case in ("user", "item"):
                setattr(given, case, replace(getattr(given, case), vector=None))
            scores = given.to(head).scores
            shape = (count, CANDIDATES) if mode == "candidates" else (count,)
            wrong = _wrong(scores, shape)
            if wrong:
                where = f", no vector of the {case}" if case in ("user", "item") else f", {case}" if case else ""
                return Outcome(False, note=f"{mode}{where}: scores {wrong}")
    return Outcome(True)


def _wrong(scores: Any, shape: tuple[int, ...]) -> str:
    if not isinstance(scores, Tensor):
        return f"are a {type(scores).__name__}"
    if tuple(scores.shape) != shape:
        return f"have shape {list(scores.shape)}, not {list(shape)}"
    if scores.dtype != torch.float32:
        return f"are {scores.dtype}"
    if scores.requires_grad:
        return "are not detached"
    return "" if bool(scores.isfinite().all()) else "are not finite"


def loss_is_sound(bench: HeadBench) -> Outcome:
    """Check that the loss is a finite scalar with a gradient if there are labels, and None otherwise."""
    head = bench.moved()
    for mode in bench.modes:
        if bench.inputs(mode, labelled=False).to(head).loss is not None:
            return Outcome(False, note=f"{mode}: there is a loss without labels")
        if mode not in bench.labelled_modes:
            continue
        loss = bench.inputs(mode).to(head).loss
        if loss is None:
            if mode == bench.trained_mode:
                return Outcome(False, note=f"{mode}: no loss with labels")
            continue
        if loss.ndim or not bool(loss.isfinite()):
            return Outcome(False, note=f"{mode}: the loss is no finite scalar (shape {list(loss.shape)})")
        if not _with_vectors(bench.inputs(mode)).to(head).loss.requires_grad:  # type: ignore[union-attr]
            return Outcome(False, note=f"{mode}: the loss has no gradient")
    return Outcome(True)


def scores_ignore_labels(bench: HeadBench) -> Outcome:
    """Check that labels, targets and corrections change no score in evaluation mode."""
    head = bench.moved()
    for mode in bench.labelled_modes:
        plain, told = bench.inputs(mode, labelled=False), bench.inputs(mode)
        assert told.batch.label is not None  # noqa: S101 - just made
        turned = Inputs(replace(told.batch, label=told.batch.label.flip(0)), told.user, told.item)
        expected = plain.to(head).scores
        for given in (told, turned):
            if not close(given.to(head).scores, expected):
                return Outcome(False, note=f"{mode}: labels change the scores")
    return Outcome(True)


def scoring_is_deterministic(bench: HeadBench) -> Outcome:
    """Check that a head in evaluation mode returns the same bit for bit when called twice."""
    head = bench.moved()
    for mode in bench.modes:
        given = bench.inputs(mode, labelled=False)
        if not given.to(head).scores.equal(given.to(head).scores):
            return Outcome(False, note=f"{mode}: two calls give different results")
    return Outcome(True)


def examples_stand_alone(bench: HeadBench) -> Outcome:
    """Check that an example's scores do not depend on the other examples of its batch."""
    head = bench.moved()
    for mode in bench.modes:
        given = bench.inputs(mode, labelled=False)
        whole = given.to(head).scores
        for row in (0, EXAMPLES - 1):
            if not close(_only(given, row, mode).to(head).scores[0], whole[row]):
                return Outcome(False, note=f"{mode}: an example alone has another score than in a batch")
    return Outcome(True)


def _only(given: Inputs, row: int, mode: Mode) -> Inputs:
    """Return one example of several; candidates are shared."""
    one = slice(row, row + 1)

    def side(joined: Joined) -> Joined:
        return Joined(None if joined.vector is None else joined.vector[one], joined.offset[one])

    shared = ("candidates", "log_q")
    values = {field.name: getattr(given.batch, field.name) for field in fields(given.batch)}
    cut = {name: v[one] for name, v in values.items() if isinstance(v, Tensor) and name not in shared}
    vectors = {view: value[one] for view, value in given.batch.vectors.items()}
    item = side(given.item)
    if mode == "candidates":
        item = replace(given.item, cross=None if given.item.cross is None else given.item.cross[one])
    return Inputs(replace(given.batch, **cut, vectors=vectors), side(given.user), item)


def modes_agree(bench: HeadBench) -> Outcome | None:
    """Check that a pair has the same score as among candidates."""
    if "candidates" not in bench.modes:
        return None
    head, given = bench.moved(), bench.inputs("candidates", labelled=False)
    target = torch.arange(EXAMPLES) % CANDIDATES
    among = given.to(head).scores.gather(1, target[:, None]).squeeze(1)
    assert given.item.vector is not None and given.item.cross is not None  # noqa: S101 - just made
    own = given.item.offset[target] + given.item.cross.gather(1, target[:, None]).squeeze(1)
    item = Joined(given.item.vector[target], own)
    paired = Inputs(replace(given.batch, candidates=None), given.user, item).to(head).scores
    return Outcome(close(paired, among), float((paired - among).abs().max()), note="pairs against candidates")


def inputs_stay_as_they_are(bench: HeadBench) -> Outcome:
    """Check that neither the batch nor the vectors are modified, forwards or backwards."""
    head = bench.moved()
    head.parts.train()
    for mode in bench.labelled_modes:
        given, kept = bench.inputs(mode), bench.inputs(mode)
        loss = _with_vectors(given).to(head).loss
        if loss is not None:
            loss.backward()  # type: ignore[no-untyped-call]
        for found, expected in zip(_tensors(given), _tensors(kept), strict=True):
            if not found.equal(expected):
                return Outcome(False, note=f"{mode}: an input is modified")
    return Outcome(True)


def gradient_reaches_everything(bench: HeadBench) -> Outcome:
    """Check that each trained parameter, both sides' vectors, items' offsets and all that is read get a gradient."""
    head = bench.moved()
    head.parts.train()
    torch.manual_seed(0)
    given = _with_vectors(bench.inputs(bench.trained_mode))
    loss = given.to(head).loss
    if loss is None:
        return Outcome(False, note="there is no loss")
    loss.backward()  # type: ignore[no-untyped-call]
    wanted: dict[str, Tensor | None] = {
        "the users' vectors": given.user.vector,
        "the items' vectors": given.item.vector,
        "the items' offsets": given.item.offset,
        "what signals add for user and item together": given.item.cross,
        "the prompts": given.batch.vectors.get("prompt"),
        **{f"parameter {name}": parameter for name, parameter in trained(head).items()},
    }
    reached = {name: t.grad is not None and bool(t.grad.count_nonzero()) for name, t in wanted.items() if t is not None}
    idle = [name for name, found in reached.items() if not found]
    return Outcome(not idle, len(reached), note=f"no gradient reaches {idle[0]}" if idle else "")


def raw_orders_as_scores(bench: HeadBench) -> Outcome:
    """Check that `raw` has a gradient and one value per pair, and that scores never fall where it rises."""
    head = bench.moved()
    given = _with_vectors(bench.inputs("pairs", labelled=False, count=200))
    raw = head.raw(given.batch, given.user, given.item)
    if tuple(raw.shape) != (200,) or not raw.requires_grad:
        return Outcome(False, note=f"raw has shape {list(raw.shape)}" + ("" if raw.requires_grad else ", no gradient"))
    order = raw.detach().argsort()
    fall = float((-given.to(head).scores[order].diff()).max())
    return Outcome(
        fall <= ROUNDING, max(0.0, fall), ROUNDING, "" if fall <= ROUNDING else "scores fall where raw rises"
    )


def saves_and_loads(bench: HeadBench) -> Outcome:
    """Check that a head built without knowing the data, filled by safetensors, has the same tensors and scores."""
    head = bench.moved()
    state = head.parts.state_dict()
    with tempfile.TemporaryDirectory(prefix="llmrec-testing-") as work:
        path = Path(work) / "head.safetensors"
        write_tensors(path, state)
        saved = read_tensors(path)
        other = bench.empty(saved)
        try:
            load_into(other.parts, saved, path)
        except InputError as error:
            return Outcome(False, note=str(error).removeprefix(f"{path}: "))
    for mode in bench.modes:
        given = bench.inputs(mode, labelled=False)
        if not close(given.to(other).scores, given.to(head).scores, 1e-6):
            return Outcome(False, note=f"{mode}: scores differ after loading")
    return Outcome(True, len(state))


def labels_are_observed_or_refused(bench: HeadBench) -> Outcome:
    """Check that `observed` returns labels as the metrics need them, clicks as 0 and 1, or refuses in one line."""
    head = bench.head_class(bench.config)
    own = np.tile(np.asarray(bench.span, np.float32), 6) if bench.task == "click" else _stars()
    seen = 0
    for label, span, must in (
        (own, bench.span if bench.task == "click" else (1.0, 5.0), True),
        (_stars(), (1.0, 5.0), False),
        (np.tile(np.asarray([-1.0, 1.0], np.float32), 6), (-1.0, 1.0), False),
    ):
        try:
            observed = np.asarray(head.observed(label, span))
        except InputError as error:
            if must or "\n" in str(error):
                return Outcome(False, note=f"refuses labels of its own task: {error}" if must else "not one line")
            continue
        seen += 1
        if observed.shape != label.shape or not np.isfinite(observed).all():
            return Outcome(False, note=f"labels [{len(label)}] become {list(observed.shape)}")
        if bench.task == "click" and not np.isin(observed, (0.0, 1.0)).all():
            return Outcome(False, note=f"labels {span[0]:g} to {span[1]:g} are taken for clicks: neither 0 nor 1")
    return Outcome(True, seen)


def _stars() -> np.ndarray[Any, np.dtype[np.float32]]:
    return (1.0 + np.arange(12) % 5).astype(np.float32)


def negatives_are_declared(bench: HeadBench) -> Outcome:
    """Check that a listwise head says how its candidates are drawn, and that others do not."""
    negatives = bench.head_class(bench.config).negatives()
    right = isinstance(negatives, Negatives) if bench.head_class.listwise else negatives is None
    kind = "listwise" if bench.head_class.listwise else "not listwise"
    return Outcome(right, note="" if right else f"it is {kind}, and negatives() gives {negatives!r}")


def report_is_plain(bench: HeadBench) -> Outcome:
    """Check that `report` returns values that JSON can represent."""
    report = bench.moved().report()
    try:
        json.dumps(report, allow_nan=False)
    except (TypeError, ValueError) as error:
        return Outcome(False, note=f"not plain: {error}")
    return Outcome(isinstance(report, dict), note="" if isinstance(report, dict) else "not a dictionary")


def _with_vectors(given: Inputs) -> Inputs:
    """Return the same inputs, with a gradient required by everything that is read."""
    for tensor in _read(given):
        tensor.requires_grad_(True)
    return given


def _read(given: Inputs) -> Iterator[Tensor]:
    prompts = given.batch.vectors.get("prompt")
    inputs = (given.user.vector, given.item.vector, given.item.offset, given.item.cross, prompts)
    return (tensor for tensor in inputs if tensor is not None)


def _tensors(given: Inputs) -> list[Tensor]:
    of_batch = [getattr(given.batch, field.name) for field in fields(given.batch)]
    return [t.detach() for t in (*_read(given), given.user.offset, *of_batch) if isinstance(t, Tensor)]


def calibrates(head: type[TaskHead[Any]]) -> bool:
    """Return whether a head has a calibrator of its own."""
    return head.calibrate is not TaskHead.calibrate


BEHAVIOUR: dict[str, Check] = {
    check.__name__: check
    for check in (
        scores_are_sound,
        loss_is_sound,
        scores_ignore_labels,
        scoring_is_deterministic,
        examples_stand_alone,
        modes_agree,
        inputs_stay_as_they_are,
        gradient_reaches_everything,
        raw_orders_as_scores,
        saves_and_loads,
        labels_are_observed_or_refused,
        negatives_are_declared,
        report_is_plain,
    )
}
