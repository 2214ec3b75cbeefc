"""MixedTraining: encoders of several trainings, each with its own adapter, take their forward and backward together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llmrec_peft.backbone.chunks import TOKENS_CPU, TOKENS_CUDA, rounds
from llmrec_peft.backbone.encoder import in_order
from llmrec_peft.backbone.mixed_host import MixedHost, Part
from llmrec_peft.backbone.module_trees import sites_of, tree_of

if TYPE_CHECKING:
    from llmrec_peft.backbone.encoder import TextEncoder
    from llmrec_peft.backbone.trunk import Trunk
    from llmrec_peft.data.tokens import TokenTable

Mixing = Literal["auto", "always", "never"]
"""When texts of several trainings share a pass: where a pass of one's own would be small, always, or never."""
_APART = "apart"


@dataclass(frozen=True)
class Encode:
    """A request: the texts of one step.

    Attributes:
        encoder: Who encodes them.
        tokens: Table of the texts.
        rows: Which of them.
        trunk: Their stored states.
    """

    encoder: TextEncoder
    tokens: TokenTable
    rows: NDArray[np.int64]
    trunk: Trunk | None


@dataclass(frozen=True)
class Backward:
    """A request: the gradient of the vectors of one or more steps.

    Attributes:
        vectors: Vectors as the joint passes gave them, with their graph.
        gradients: Gradient of each.
    """

    vectors: Sequence[Tensor]
    gradients: Sequence[Tensor]


class Waiting(Protocol):
    """What `MixedTraining.serve` needs of a training that waits: see `llmrec_peft.training.coroutines.Coroutine`."""

    request: Any
    answer: Any
    random: Any


class MixedTraining:
    """Joins the passes of trainings that wait for each other.

    A training's encoder calls `encode` in a step and `backward` after the loss's backward pass. Its own texts pass in
    the chunks in which they would pass alone; the chunks of several trainings share a pass, in which each row goes
    through its own training's adapter modules. So figures are those of each alone but for rounding.
    """

    def __init__(
        self,
        wait: Callable[[Any], Any],
        drawing: Callable[[Any], AbstractContextManager[None]] = lambda _state: nullcontext(),
        mixing: Mixing = "auto",
    ) -> None:
        """Set how trainings wait.

        Args:
            wait: Hands a request over and returns its answer, after every training that runs waits.
            drawing: Within it one draws from a training's random states.
            mixing: When passes are shared.
        """
        self._wait, self._drawing, self._mixing = wait, drawing, mixing
        self._host: MixedHost | None = None
        self._sites: WeakKeyDictionary[TextEncoder, dict[str, nn.Module] | None] = WeakKeyDictionary()
        self._tried: WeakSet[TextEncoder] = WeakSet()
        self._drawing_ones: WeakSet[TextEncoder] = WeakSet()
        self._pending: WeakKeyDictionary[TextEncoder, list[tuple[Tensor, Tensor]]] = WeakKeyDictionary()
        self.passes = 0
        """Passes that were shared by at least two trainings."""

    def take(self, encoder: TextEncoder, adapted: nn.Module, bare: nn.Module) -> None:
        """Find out how an encoder's adapter can share passes; what cannot encodes apart.

        Args:
            encoder: Encoder with an adapter.
            adapted: Its transformer, in which the adapter lies.
            bare: The base's bare transformer.
        """
        if self._host is None:
            self._host = MixedHost(tree_of(bare))
        self._sites[encoder] = sites_of(adapted, self._host.model, encoder.model)

    def encode(self, encoder: TextEncoder, tokens: TokenTable, rows: NDArray[np.int64], trunk: Trunk | None) -> Tensor:
        """Return vectors of distinct texts as `TextEncoder.encode` does, float32 [n, width], in the order of `rows`.

        The vectors have no graph: `backward` hands on the gradient that they are given.
        """
        if not self._shares(encoder, tokens, rows):
            return encoder.encode(tokens, rows, trunk)
        answer = self._wait(Encode(encoder, tokens, rows, trunk))
        if answer is _APART:
            return encoder.encode(tokens, rows, trunk)
        leaf: Tensor = answer.detach().requires_grad_()
        self._pending.setdefault(encoder, []).append((answer, leaf))
        return leaf

    def backward(self, encoder: TextEncoder) -> None:
        """Hand the gradients of an encoder's vectors on to its adapter, once the loss's backward pass is done."""
        pending = self._pending.pop(encoder, [])
        given = [(vectors, leaf.grad) for vectors, leaf in pending if leaf.grad is not None]
        if given:
            error = self._wait(Backward([vectors for vectors, _ in given], [gradient for _, gradient in given]))
            if error is not None:
                raise error

    def serve(self, waiting: Sequence[Waiting]) -> None:
        """Answer those that wait: all that encode, or, if none does, all that hand gradients on."""
        asking = [one for one in waiting if isinstance(one.request, Encode)]
        if asking:
            try:
                self._serve_texts(asking)
            except RuntimeError:  # no memory for all of them at once, for example
                for one in asking:
                    one.answer, one.request = _APART, None
            return
        vectors = [tensor for one in waiting for tensor in one.request.vectors]
        gradients = [tensor for one in waiting for tensor in one.request.gradients]
        error = None
        try:
            torch.autograd.backward(vectors, gradients)
        except RuntimeError as failed:
            error = failed
        for one in waiting:
            one.answer, one.request = error, None

    def _shares(self, encoder: TextEncoder, tokens: TokenTable, rows: NDArray[np.int64]) -> bool:
        """Whether texts of one step share passes with those of others."""
        if self._mixing == "never" or self._sites.get(encoder) is None or not encoder.mixable:
            return False
        if self._mixing == "always":
            return True
        count = len(encoder.passes(tokens, rows))
        budget = TOKENS_CPU if encoder.device.type == "cpu" else TOKENS_CUDA
        return int(tokens.lengths(rows).sum()) < budget * count

    def _serve_texts(self, asking: Sequence[Waiting]) -> None:
        """Encode the texts of all that ask; one alone, and what does not prove right, encodes by itself."""
        mixed = [one for one in asking if self._proved(one.request)]
        found: dict[int, list[tuple[Any, Tensor]]] = {}
        if len(mixed) > 1:
            chunks = [one.request.encoder.passes(one.request.tokens, one.request.rows) for one in mixed]
            for turn in range(max(map(len, chunks))):
                parts = [
                    self._part(one.request, own[turn], one.random)
                    for one, own in zip(mixed, chunks, strict=True)
                    if turn < len(own)
                ]
                owners = [at for at, own in enumerate(chunks) if turn < len(own)]
                for join in {part.joins for part in parts}:
                    chosen = [at for at, part in enumerate(parts) if part.joins == join]
                    assert self._host is not None  # noqa: S101 - `take` made it
                    self.passes += len(chosen) > 1
                    with torch.enable_grad():
                        vectors = self._host.vectors([parts[at] for at in chosen])
                    for at, own in zip(chosen, vectors, strict=True):
                        found.setdefault(owners[at], []).append((parts[at].chunk, own))
        for at, one in enumerate(mixed):
            if at in found:
                one.answer = in_order([chunk for chunk, _ in found[at]], [own for _, own in found[at]])
        for one in asking:
            one.answer = _APART if one.answer is None else one.answer
            one.request = None

    def _part(self, request: Encode, chunk: Any, random: Any = None) -> Part:
        """Return one chunk of a request as a part of a pass."""
        encoder, rows, trunk = request.encoder, request.rows[chunk.filled()], request.trunk
        ids, mask = (tensor.to(encoder.device) for tensor in request.tokens.padded(rows, chunk.width))
        sites = self._sites[encoder]
        assert sites is not None  # noqa: S101 - who has none encodes apart
        draws = random is not None and encoder in self._drawing_ones
        return Part(
            encoder,
            chunk,
            int(request.tokens.kind[rows[0]]),
            ids,
            mask,
            None if trunk is None else trunk.padded(rows, chunk.width),
            0 if trunk is None else trunk.lowest,
            trunk is not None and trunk.answers_tuple,
            sites,
            (lambda: self._drawing(random)) if draws else nullcontext,
        )

    def _proved(self, request: Encode) -> bool:
        """Whether a pass through the host gives what the encoder alone gives; tried once, with an adapter that acts."""
        encoder = request.encoder
        if encoder not in self._tried:
            self._tried.add(encoder)
            if not self._agrees(request):
                self._sites[encoder] = None
        return self._sites[encoder] is not None

    @torch.no_grad()
    def _agrees(self, request: Encode) -> bool:
        encoder = request.encoder
        trained = [parameter for parameter in encoder.model.parameters() if parameter.requires_grad]
        kept, training = [parameter.clone() for parameter in trained], encoder.training
        generator = torch.Generator(device="cpu").manual_seed(0)
        encoder.eval()
        try:
            for parameter in trained:
                noise = torch.randn(parameter.shape, generator=generator) * 0.02
                parameter.add_(noise.to(parameter.device, parameter.dtype))
            chunk = encoder.passes(request.tokens, request.rows)[0]
            part = self._part(request, chunk)
            assert self._host is not None  # noqa: S101 - `take` made it
            ours = self._host.vectors([part, part])[1]
            alone = encoder.encode(request.tokens, request.rows[chunk.at], request.trunk)
            encoder.train()
            before = _generators(encoder.device)
            encoder.encode(request.tokens, request.rows[chunk.at], request.trunk)
            if any(not torch.equal(*pair) for pair in zip(before, _generators(encoder.device), strict=True)):
                self._drawing_ones.add(encoder)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
            return False
        finally:
            for parameter, value in zip(trained, kept, strict=True):
                parameter.copy_(value)
            encoder.train(training)
        allowed = 5e-2 if rounds(encoder.model) else 1e-4
        both_finite = bool(ours.isfinite().all()) and bool(alone.isfinite().all())
        apart = torch.linalg.vector_norm(ours - alone) / torch.linalg.vector_norm(alone)
        return both_finite and bool(apart <= allowed)


def _generators(device: torch.device) -> list[Tensor]:
    """Return the states of the generators from which modules draw."""
    cuda = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *cuda]
