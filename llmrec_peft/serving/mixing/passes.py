"""Passes: one pass through the bare base, each row changed by its own adapter.

Hooks stand on the modules for one pass alone. A row has one adapter, so at any module at most one form changes it, and
forms at the same module can come in any order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from llmrec_peft.backbone.batched import MODEL, BatchedForm
from llmrec_peft.serving.mixing.front import FrontRows, front_states
from llmrec_peft.serving.mixing.gathered import Gathered
from llmrec_peft.serving.mixing.slots import Seat, Slots

if TYPE_CHECKING:
    from llmrec_peft.backbone.load import Backbone


def mixed_states(backbone: Backbone, slots: Slots, ids: Tensor, mask: Tensor, seats: Sequence[Seat | None]) -> Tensor:
    """Return the states of texts, each under its own adapter, [rows, tokens, width].

    Args:
        backbone: The bare base (`LanguageModel.bare`).
        slots: The adapters in memory.
        ids: Token ids, padded on the right, int64 [rows, tokens].
        mask: 1 for tokens, 0 for padding, int64 [rows, tokens].
        seats: Adapter of each row; None for the bare base.

    Raises:
        InputError: If one of the adapters was dropped.
    """
    plan = slots.plan(seats)
    fronts = [_front(one) for one in plan if one.layout.form.front is not None and one.layout.site == MODEL]
    inside = [one for one in plan if one.layout.site != MODEL]
    with _hooked(backbone.model, inside, len(seats), slots.device):
        return front_states(backbone.model, ids, mask, fronts)


class _Part:
    """The rows of one layout in a pass; rows of one adapter that follow one another may count as one longer row."""

    def __init__(self, gathered: Gathered, rows: int, device: torch.device) -> None:
        self.form = gathered.layout.form
        self.reads = gathered.layout.reads
        self._gathered = gathered
        self._tensors: dict[str, Tensor] | None = None
        own = gathered.rows
        first, last = int(own[0]), int(own[-1])
        self._whole = len(own) == rows
        self._range = (first, len(own)) if last - first + 1 == len(own) else None
        self._index = None if self._range else torch.from_numpy(own).to(device)
        self.before = type(self.form).before is not BatchedForm.before
        self.behind = type(self.form).behind is not BatchedForm.behind

    def tensors(self, last: bool) -> dict[str, Tensor]:
        """Return the slots' tensors; they are kept from before the module until behind it."""
        found = self._gathered.tensors() if self._tensors is None else self._tensors
        self._tensors = None if last else found
        return found

    def of(self, values: Tensor) -> Tensor:
        """Return the part's rows as its form is given them: a view of `values` where they follow one another."""
        if self._whole:
            own = values
        elif self._range is not None:
            own = values.narrow(0, *self._range)
        else:
            own = values.index_select(0, cast(Tensor, self._index))
        joined = self._gathered.joined
        return own if joined == 1 else own.reshape(len(own) // joined, joined * own.shape[1], *own.shape[2:])

    def put(self, values: Tensor, given: Tensor, changed: Tensor, shared: bool) -> Tensor:
        """Return all rows with the part's replaced.

        Args:
            values: All rows.
            given: The part's rows, as `of` returned them.
            changed: The same rows, changed; may be `given` itself.
            shared: Whether somebody else reads `values`, so that nothing may be written into them.
        """
        if _same_place(changed, given) and self._range is not None and _same_bytes(given, values):
            return values
        changed = changed.to(values.dtype)
        joined = self._gathered.joined
        if joined > 1:
            changed = changed.reshape(len(changed) * joined, -1, *changed.shape[2:])
        if self._whole:
            return changed
        if torch.is_grad_enabled() or shared:
            values = values.clone()
        if self._range is not None:
            values.narrow(0, *self._range).copy_(changed)
            return values
        return values.index_copy_(0, cast(Tensor, self._index), changed)


class _Station:
    """One module in a pass: what goes in is kept for those who read it, what goes in and comes out is changed."""

    def __init__(self, name: str, rows: int) -> None:
        self.parts: list[_Part] = []
        self.readers = 0
        """How many parts of other modules read what goes in here."""
        self._name = name
        self._rows = rows
        self._raw: Tensor | None = None
        self._unread = 0

    def enters(self) -> bool:
        """Whether something is to be done before the module runs."""
        return bool(self.readers) or any(part.before for part in self.parts)

    def enter(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Change what goes into the module."""
        at, raw = self._first(args, kwargs)
        self._unread = self.readers + sum(part.behind for part in self.parts if part.reads is None)
        self._raw = raw if self._unread else None
        changed = raw
        for part in self.parts:
            if part.before:
                given = part.of(raw)
                new = part.form.before(given, part.tensors(last=not part.behind))
                if new is not given:
                    changed = part.put(changed, given, new, shared=_same_bytes(changed, raw))
        if changed is raw:
            return None
        return (args, {**kwargs, at: changed}) if isinstance(at, str) else ((changed, *args[1:]), kwargs)

    def leave(self, stations: dict[str, _Station], args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """Change what comes out of the module."""
        first = output[0] if isinstance(output, tuple) else output
        _, entered = self._first(args, kwargs)
        changed = first.clone() if not torch.is_grad_enabled() and _same_bytes(first, entered) else first
        for part in self.parts:
            if part.behind:
                raw = stations[part.reads].read() if part.reads else (entered if self._raw is None else self.read())
                given = part.of(changed)
                new = part.form.behind(part.of(raw), given, part.tensors(last=True))
                changed = part.put(changed, given, new, shared=False)
        if changed is first:
            return None
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    def read(self) -> Tensor:
        """Return what went in last, unchanged; it is forgotten after the last reader."""
        raw = self._raw
        if raw is None:
            raise ValueError(f"{self._name} has not run before what reads its input")
        self._unread -= 1
        if not self._unread:
            self._raw = None
        return raw

    def _first(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int | str, Tensor]:
        """Return a module's first argument and its place."""
        at: int | str = 0 if args else next(iter(kwargs))
        raw: Tensor = kwargs[at] if isinstance(at, str) else args[0]
        if raw.shape[0] != self._rows:
            raise ValueError(f"{self._name} reads {list(raw.shape)}, not the {self._rows} rows of the pass")
        return at, raw


@contextlib.contextmanager
def _hooked(model: nn.Module, plan: Sequence[Gathered], rows: int, device: torch.device) -> Iterator[None]:
    """Let modules change rows inside the block."""
    stations: dict[str, _Station] = {}
    for gathered in plan:
        site, reads = gathered.layout.site, gathered.layout.reads
        for name in filter(None, (site, reads)):
            stations.setdefault(name, _Station(name, rows))
        part = _Part(gathered, rows, device)
        stations[site].parts.append(part)
        if reads and part.behind:
            stations[reads].readers += 1
    hooks = []
    try:
        for name, station in stations.items():
            module = _inside(model, name)
            if station.enters():
                hooks.append(module.register_forward_pre_hook(station.enter, with_kwargs=True))
            if any(part.behind for part in station.parts):
                hooks.append(module.register_forward_hook(_leaving(station, stations), with_kwargs=True))
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _inside(model: nn.Module, name: str) -> nn.Module:
    """Return a module by its dotted name; `get_submodule` checks each part and takes as long as a hook."""
    for part in name.split("."):
        model = cast(nn.Module, model._modules[part])
    return model


def _same_bytes(one: Tensor, other: Tensor) -> bool:
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


def _same_place(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors are the same numbers in memory."""
    return one is other or (
        one.data_ptr() == other.data_ptr() and one.shape == other.shape and one.stride() == other.stride()
    )


def _leaving(station: _Station, stations: dict[str, _Station]) -> Any:
    return lambda _module, args, kwargs, output: station.leave(stations, args, kwargs, output)


def _front(gathered: Gathered) -> FrontRows:
    kind = str(gathered.layout.form.front)
    rows, lengths = (tuple(one.tolist()) for one in (gathered.rows, gathered.lengths))
    return FrontRows(kind, rows, lengths, gathered.tensors())
