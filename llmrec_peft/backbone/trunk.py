"""Trunk: states below the lowest adapted layer, computed once for every text and replayed from memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from llmrec_peft.backbone.chunks import chunks, rounds, steady_chunks
from llmrec_peft.backbone.row_pool import RowPool

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from llmrec_peft.data.tokens import TokenTable


class UnknownLayersError(TypeError):
    """The model has no stack of layers, or its layers are not called one after the other."""


def transformer_layers(model: nn.Module) -> nn.ModuleList:
    """Return the stack of transformer layers: the longest outermost module list whose members share one class.

    Outermost, since a layer may contain a list of its own (experts) that is longer than the stack.

    Raises:
        UnknownLayersError: If there is none.
    """
    stacks = [
        module
        for module in model.modules()
        if isinstance(module, nn.ModuleList) and len({type(layer) for layer in module}) == 1
    ]
    inner = {id(below) for stack in stacks for layer in stack for below in layer.modules()}
    outermost = [stack for stack in stacks if id(stack) not in inner]
    if not outermost:
        raise UnknownLayersError(f"{type(model).__name__} has no stack of layers")
    return max(outermost, key=len)


def state_width(model: nn.Module) -> int:
    """Return the size of a token's state, whatever the architecture's configuration calls it."""
    config: Any = model.config
    return int(config.get_text_config().hidden_size)


class _StandIn(nn.Module):
    """Replaces a layer while the model runs, with all attributes that the model reads from that layer.

    Some models choose a mask or a position table by `layer.attention_type`, for example.
    """

    def __init__(self, layer: nn.Module, answers_tuple: bool) -> None:
        super().__init__()
        self.__dict__["_layer"] = layer  # not as a child: it is no part of this module
        self.__dict__["_answers_tuple"] = answers_tuple

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["_layer"], name)

    def answer(self, states: Tensor) -> Any:
        """Return states in the form in which the layer returns them."""
        return (states,) if self.__dict__["_answers_tuple"] else states


class _Skip(_StandIn):
    """Replaces a layer that is skipped, since a later one is replayed."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.answer(_states_of(args, kwargs))


class _Replay(_StandIn):
    """Replaces the layer below the lowest adapted one and returns stored states, whatever its input."""

    def __init__(self, layer: nn.Module, answers_tuple: bool, states: Tensor) -> None:
        super().__init__(layer, answers_tuple)
        self.__dict__["_stored"] = states

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.answer(self.__dict__["_stored"])


def _states_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Return the states that a layer is called with: the first argument, or a keyword that architectures use."""
    given = args[0] if args else kwargs.get("hidden_states", kwargs.get("hidden_state"))
    if not isinstance(given, Tensor):
        raise UnknownLayersError("a layer is called without states")
    return given


class Trunk:
    """Stored states that enter layer `lowest`, for all distinct texts of a token table.

    The lower layers are frozen and run without dropout, so their states for a text never change; replaying them gives
    the result of the full pass (a test compares both). States are stored without padding, ragged.
    """

    def __init__(
        self, model: nn.Module, tokens: TokenTable, lowest: int, chunk: int = 64, pool: RowPool | None = None
    ) -> None:
        """Compute the states, or those that a pool lacks.

        Args:
            model: Frozen transformer (adapters may be attached at `lowest` and above).
            tokens: Texts.
            lowest: Index of the lowest adapted layer, at least 1.
            chunk: Texts per forward pass.
            pool: States of other tables' texts below the same layer of the same model; None to keep them alone.
        """
        self._model = model
        self._tokens = tokens
        self._lowest = lowest
        self._pool = RowPool() if pool is None else pool
        self._start = tokens.start[:-1] if pool is None else pool.starts(tokens)
        self._shared = pool is not None
        self._missing = np.arange(tokens.num_distinct) if pool is None else np.flatnonzero(self._start < 0)
        self._layers = transformer_layers(model)  # once: each pass of a replay exchanges some of them
        if not 0 < lowest < len(self._layers):
            raise UnknownLayersError(f"{type(model).__name__} has no layer {lowest} above another")
        self._fill(chunk)

    @staticmethod
    def megabytes(tokens: TokenTable, width: int, dtype: torch.dtype, pool: RowPool | None = None) -> float:
        """Return the memory of all texts' states, in MiB; with what a pool holds already."""
        rows = len(tokens.ids)
        if pool is not None:
            rows = pool.used + int(tokens.lengths(np.flatnonzero(pool.starts(tokens) < 0)).sum())
        return rows * width * dtype.itemsize / 2**20

    @torch.no_grad()
    def _fill(self, chunk: int) -> None:
        caught: list[Tensor] = []

        def catch(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            caught.append(_states_of(args, kwargs))
            raise _Enough

        def look(_module: nn.Module, _args: tuple[Any, ...], answer: Any) -> None:
            self._pool.answers_tuple = isinstance(answer, tuple)

        device = next(self._model.parameters()).device
        layers, pool, missing = self._layers, self._pool, self._missing
        hooks = [
            layers[self._lowest].register_forward_pre_hook(catch, with_kwargs=True),
            layers[self._lowest - 1].register_forward_hook(look),
        ]
        lengths, kinds = self._tokens.lengths(missing), np.zeros_like(missing)
        starts = pool.used + np.cumsum(lengths) - lengths
        steady = rounds(self._model)
        passes = steady_chunks(lengths, kinds, chunk, self._model) if steady else chunks(lengths, kinds, chunk)
        try:
            for one in passes if len(missing) else ():
                ids, mask = self._tokens.padded(missing[one.filled()], one.width)
                with suppress(_Enough):
                    self._model(input_ids=ids.to(device), attention_mask=mask.to(device))
                if len(caught) != 1 or caught[0].shape[:2] != ids.shape:
                    raise UnknownLayersError(
                        f"{type(self._model).__name__} does not hand each text's states to its layers"
                    )
                states = caught.pop()
                held = pool.reserved(int(lengths.sum()), states)
                for at, own in zip(one.at, states[: len(one.at)], strict=True):
                    held[starts[at] : starts[at] + lengths[at]] = own[: lengths[at]]
        finally:
            for hook in hooks:
                hook.remove()
        self._start = self._start.copy()
        self._start[missing] = starts
        if self._shared:
            pool.keep(self._tokens, missing, starts, pool.used + int(lengths.sum()))

    @torch.no_grad()
    def replays_exactly(self) -> bool:
        """Return whether a replay gives the full pass's result, tried on the shortest, a middle and the longest text.

        An architecture may pass its upper layers more than the states (another layer's attention, a table that the
        first layer fills); then a replay would be silently wrong, and this returns False.
        """
        order = np.argsort(self._tokens.lengths(np.arange(self._tokens.num_distinct)), kind="stable")
        rows = np.unique(order[[0, len(order) // 2, -1]])
        ids, mask = self._tokens.padded(rows)
        device = next(self._model.parameters()).device
        inputs = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
        full = self._model(**inputs).last_hidden_state
        try:
            with self.replayed(rows):
                replayed = self._model(**inputs).last_hidden_state
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
            return False  # the model reads something from its layers that only computing them gives
        if replayed.shape != full.shape:
            return False
        inside = mask.bool().to(device)
        exact, actual = full[inside].float(), replayed[inside].float()
        # Half precision rounds differently in a batch of another shape; a wrong replay differs by far more.
        allowed = 1e-3 if full.dtype == torch.float32 else 5e-2
        return bool(torch.linalg.vector_norm(actual - exact) <= allowed * torch.linalg.vector_norm(exact))

    def padded(self, rows: NDArray[np.int64], length: int | None = None) -> Tensor:
        """Return stored states of some texts, zero beyond each text's end, [len(rows), length or longest, width]."""
        held = self._pool.tensor
        assert held is not None  # noqa: S101 - `_fill` has run
        lengths = self._tokens.lengths(rows)
        place = np.arange(int(lengths.max()) if length is None else length)[None, :]
        inside = place < lengths[:, None]
        at = np.where(inside, self._start[rows][:, None] + place, 0)
        states = held[torch.from_numpy(at).to(held.device)]
        return states * torch.from_numpy(inside).to(states.device, states.dtype).unsqueeze(-1)

    @contextmanager
    def replayed(self, rows: NDArray[np.int64], length: int | None = None) -> Iterator[None]:
        """Replace the model's lower layers by the stored states of these texts inside the block, padded to `length`."""
        with replaying(self._layers, self._lowest, self.padded(rows, length), self.answers_tuple):
            yield

    @property
    def lowest(self) -> int:
        """Index of the layer that the states enter."""
        return self._lowest

    @property
    def answers_tuple(self) -> bool:
        """Whether the layer below hands its states on in a tuple."""
        return self._pool.answers_tuple


@contextmanager
def replaying(layers: nn.ModuleList, lowest: int, states: Tensor, answers_tuple: bool) -> Iterator[None]:
    """Replace the layers below one by stored states inside the block.

    Args:
        layers: The stack of layers.
        lowest: Index of the layer that the states enter, at least 1.
        states: [rows, tokens, width].
        answers_tuple: Whether the layer below hands its states on in a tuple.
    """
    below = list(layers[:lowest])
    for index in range(lowest - 1):
        layers[index] = _Skip(below[index], answers_tuple)
    layers[lowest - 1] = _Replay(below[-1], answers_tuple, states)
    try:
        yield
    finally:
        for index, layer in enumerate(below):
            layers[index] = layer


class _Enough(Exception):  # noqa: N818 - no error: it ends a forward pass early
    """Raised inside a forward pass once its states are caught."""
