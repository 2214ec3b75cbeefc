"""MixedHost: one pass through a base in which consecutive rows are changed by the live modules of several adapters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from llmrec_peft.backbone.trunk import replaying, transformer_layers

if TYPE_CHECKING:
    from llmrec_peft.backbone.chunks import Chunk
    from llmrec_peft.backbone.encoder import TextEncoder

Drawing = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class Part:
    """Texts of one encoder in a pass.

    Attributes:
        encoder: The encoder, in training mode if its modules are.
        chunk: Which texts; their vectors are those of the chunk alone, up to rounding.
        kind: Kind of the texts.
        ids: Token ids, [rows, tokens].
        mask: 1 for tokens, [rows, tokens].
        states: Stored states that enter layer `lowest`, [rows, tokens, width]; None where all layers are computed.
        lowest: That layer.
        answers_tuple: See `llmrec_peft.backbone.trunk.replaying`.
        sites: The adapter's modules by the name of the bare one whose place they take.
        drawing: Within it modules draw from the encoder's own random states.
    """

    encoder: TextEncoder
    chunk: Chunk
    kind: int
    ids: Tensor
    mask: Tensor
    states: Tensor | None
    lowest: int
    answers_tuple: bool
    sites: Mapping[str, nn.Module]
    drawing: Drawing = nullcontext

    @property
    def joins(self) -> tuple[bool, int]:
        """What parts of one pass have to share."""
        return self.states is None, self.lowest


@dataclass
class _Pass:
    """The parts that are under way, shared by the modules of a host."""

    parts: Sequence[Part] = ()
    called: set[str] = field(default_factory=set)


class _Sliced(nn.Module):
    """Stands in the place of a bare module: the rows of each part pass through the part's own."""

    def __init__(self, name: str, bare: nn.Module, under_way: _Pass) -> None:
        super().__init__()
        self.bare = bare
        self.__dict__["_name"], self.__dict__["_pass"] = name, under_way

    def forward(self, inputs: Tensor) -> Tensor:
        """Return what the parts' modules give, zero beyond each part's own tokens."""
        name, width = self.__dict__["_name"], inputs.shape[1]
        under_way: _Pass = self.__dict__["_pass"]
        under_way.called.add(name)
        begin, answers = 0, []
        for part in under_way.parts:
            rows, tokens = part.ids.shape
            own = inputs[begin : begin + rows, :tokens]
            with part.drawing():
                answer: Tensor = part.sites.get(name, self.bare)(own)
            answers.append(nn.functional.pad(answer, (0, 0, 0, width - tokens)) if tokens < width else answer)
            begin += rows
        if begin != len(inputs):
            raise ValueError(f"{name} is not called with a row for each text")
        return torch.cat(answers)


class MixedHost:
    """A bare module tree over the base's tensors, through which parts of several encoders pass together."""

    def __init__(self, model: nn.Module) -> None:
        """Take a tree that nobody else uses.

        Args:
            model: Bare transformer, frozen, in evaluation mode.
        """
        self._model = model
        self._pass = _Pass()
        self._bare: dict[str, nn.Module] = {}

    @property
    def model(self) -> nn.Module:
        """The bare transformer; between passes it is as it was given."""
        return self._model

    def vectors(self, parts: Sequence[Part]) -> list[Tensor]:
        """Return the vectors of each part's texts, float32 [n, width]; differentiable in the adapters' parameters.

        Args:
            parts: Parts that `joins` says can share a pass.

        Raises:
            ValueError: If a part's modules were not all called with its rows.
        """
        width = max(part.ids.shape[1] for part in parts)
        ids, mask = (_joined([getattr(part, name) for part in parts], width) for name in ("ids", "mask"))
        stored = [part.states for part in parts if part.states is not None]
        replay: AbstractContextManager[Any] = nullcontext()
        if stored:
            layers, one = transformer_layers(self._model), parts[0]
            replay = replaying(layers, one.lowest, _joined(stored, width), one.answers_tuple)
        sites = {name for part in parts for name in part.sites}
        with self._slicing(sites, parts), replay:
            states = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
        missed = sites - self._pass.called
        if missed:
            raise ValueError(f"{min(missed)} was not called")
        begin, found = 0, []
        for part in parts:
            rows, tokens = part.ids.shape
            own = states[begin : begin + rows, :tokens]
            found.append(part.encoder.pooled(own, part.mask, part.kind)[: len(part.chunk.at)])
            begin += rows
        return found

    @contextmanager
    def _slicing(self, sites: set[str], parts: Sequence[Part]) -> Iterator[None]:
        """Let modules be sliced inside the block."""
        self._pass.parts, self._pass.called = parts, set()
        placed = []
        try:
            for name in sorted(sites):
                parent, _, last = name.rpartition(".")
                owner = self._model.get_submodule(parent)
                bare = owner._modules[last]
                assert bare is not None  # noqa: S101 - it was found by walking the tree
                placed.append((owner, last, bare))
                owner._modules[last] = _Sliced(name, bare, self._pass)
            yield
        finally:
            for owner, last, bare in placed:
                owner._modules[last] = bare
            self._pass.parts = ()


def _joined(tensors: Sequence[Tensor], width: int) -> Tensor:
    """Return tensors [rows, tokens, …] below each other, zero beyond their own tokens."""
    if all(tensor.shape[1] == width for tensor in tensors):
        return torch.cat(list(tensors)) if len(tensors) > 1 else tensors[0]
    first = tensors[0]
    whole = first.new_zeros(sum(map(len, tensors)), width, *first.shape[2:])
    begin = 0
    for tensor in tensors:
        whole[begin : begin + len(tensor), : tensor.shape[1]] = tensor
        begin += len(tensor)
    return whole
