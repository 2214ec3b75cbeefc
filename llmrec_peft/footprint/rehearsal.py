"""Rehearsal: run one training step of the language model on tensors without data, and count its memory."""

from __future__ import annotations

import contextlib
import warnings
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from llmrec_peft.backbone.base import BaseIdentity
from llmrec_peft.backbone.load import Backbone, bare_config
from llmrec_peft.backbone.pooling import pool
from llmrec_peft.backbone.quiet import refused_in_one_line
from llmrec_peft.footprint.quantized import let_methods_unpack, stand_in

if TYPE_CHECKING:
    from llmrec_peft.backbone.adapter import AdapterMethod


@dataclass(frozen=True)
class Rehearsal:
    """Memory that one chunk of texts takes, in bytes.

    Attributes:
        base: Frozen weights and buffers in memory.
        tables: The part of `base` in embedding tables.
        weights: Number of weights of the base.
        adapter: Modules that the method adds, trained or not.
        trained: Trained parameters.
        trains_tables: Whether the method trains an embedding table.
        encode: Peak of a forward pass without gradient, above what stays in memory.
        kept: Kept after the forward pass for the backward pass.
        backward: Peak of forward and backward, above what stays in memory.
        lowest: Lowest adapted layer; None where nothing is adapted.
        width: Size of a token's state.
    """

    base: int
    tables: int
    weights: int
    adapter: int
    trained: int
    trains_tables: bool
    encode: int
    kept: int
    backward: int
    lowest: int | None
    width: int


class _Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors that are alive."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._known: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return 1.0  # a number read out of a tensor that has none; methods use it to ask whether a scale is zero
        result = func(*args, **(kwargs or {}))
        tree_map_only(torch.Tensor, self._add, result)
        return result

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        size = storage.nbytes()
        self._known[storage] = size
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._drop, size)

    def _drop(self, size: int) -> None:
        self.live -= size

    def from_here(self) -> int:
        """Return the bytes alive now, and count the peak from here."""
        self.peak = self.live
        return self.live


def bare_on_meta(folder: Path, dtype: torch.dtype, remote: bool = False) -> Backbone:
    """Return the bare transformer of a ``config.json`` on the meta device, as `load_backbone` gives it.

    Raises:
        InputError: When the configuration cannot be read.
    """
    from transformers import AutoModel

    with refused_in_one_line(f"backbone {folder}"):
        config, facts, options = bare_config(folder, str(folder), remote)
        with torch.device("meta"):
            model = AutoModel.from_config(config, dtype=dtype, trust_remote_code=remote, **options)
    model.requires_grad_(False)
    model.eval()
    identity = BaseIdentity(str(folder), None, "", "none", "bf16" if dtype == torch.bfloat16 else "fp32")
    return Backbone(model, None, identity, facts.kind, facts.width, facts.depth)


def rehearse(
    backbone: Backbone,
    method: AdapterMethod[Any],
    quantization: str,
    checkpointing: bool,
    rows: int,
    length: int,
    pooling: str = "mean",
) -> Rehearsal:
    """Attach a method and run one chunk forward and backward; the backbone cannot be used afterwards.

    Args:
        backbone: From `bare_on_meta`.
        method: Adapter method.
        quantization: ``none``, ``int8`` or ``nf4``.
        checkpointing: Whether activations are recomputed.
        rows: Texts of the chunk.
        length: Tokens of each, padding included.
        pooling: How states become a vector.
    """
    frozen = list(backbone.model.modules())
    lowest = method.lowest_layer(backbone)
    weights = backbone.shapes.parameters
    widths = {tuple(m.weight.shape) for m in frozen if isinstance(m, nn.Embedding)}
    with _without_warnings():
        if checkpointing:
            backbone.model.gradient_checkpointing_enable()  # type: ignore[operator]
        with torch.device("meta"):
            model = method.attach(backbone)
        if quantization != "none":
            for module in frozen:
                stand_in(module, quantization)
            let_methods_unpack(model)
        tensors = [*model.parameters(), *model.buffers()]
        own = {id(t) for module in frozen for t in (*module._parameters.values(), *module._buffers.values())}
        base = sum(_size(t) for t in tensors if id(t) in own)
        adapter = sum(_size(t) for t in tensors if id(t) not in own)
        trained = [p for p in model.parameters() if p.requires_grad]
        tables = sum(_size(m.weight) for m in frozen if isinstance(m, nn.Embedding))
        trains_tables = any(tuple(p.shape) in widths for p in trained)
        for module in frozen:
            module.training = False
        encode, kept, backward = _counted(model, frozen, method, checkpointing, rows, length, pooling, bool(trained))
    return Rehearsal(
        base=base,
        tables=tables,
        weights=weights,
        adapter=adapter,
        trained=sum(_size(p) for p in trained),
        trains_tables=trains_tables,
        encode=encode,
        kept=kept,
        backward=backward,
        lowest=lowest,
        width=backbone.width,
    )


def _counted(
    model: nn.Module,
    frozen: list[nn.Module],
    method: AdapterMethod[Any],
    checkpointing: bool,
    rows: int,
    length: int,
    pooling: str,
    trains: bool,
) -> tuple[int, int, int]:
    """Return the peak of a pass without gradient, the bytes kept after one with it, and the peak of both passes."""
    with FakeTensorMode(allow_non_fake_inputs=True), _Ledger() as ledger:
        _without_data(model)
        ids = torch.zeros(rows, length, dtype=torch.long)
        mask = torch.ones_like(ids)
        model.eval()
        before = ledger.from_here()
        with torch.no_grad():
            pool(model(input_ids=ids, attention_mask=mask).last_hidden_state, mask, pooling)
        encode = ledger.peak - before
        if not trains:
            return encode, 0, 0
        model.train()
        for module in frozen:  # as `TextEncoder.train` does
            module.training = checkpointing and bool(getattr(module, "gradient_checkpointing", False))
        before = ledger.from_here()
        loss = pool(model(input_ids=ids, attention_mask=mask).last_hidden_state, mask, pooling).sum()
        penalty = method.regularization(model)
        loss = loss if penalty is None else loss + penalty
        kept = ledger.live - before
        loss.backward()  # type: ignore[no-untyped-call]
        return encode, kept, ledger.peak - before


def _without_data(model: nn.Module) -> None:
    """Replace every parameter and buffer by one of the same size that pretends to lie in memory."""
    replaced: dict[int, tuple[Tensor, Tensor]] = {}
    for module in model.modules():
        for name, tensor in list(module._parameters.items()):
            if tensor is not None:
                if id(tensor) not in replaced:
                    empty = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
                    replaced[id(tensor)] = (nn.Parameter(empty, requires_grad=tensor.requires_grad), tensor)
                module._parameters[name] = replaced[id(tensor)][0]  # type: ignore[assignment]
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                if id(buffer) not in replaced:
                    replaced[id(buffer)] = (torch.empty(buffer.shape, dtype=buffer.dtype, device="cpu"), buffer)
                module._buffers[name] = replaced[id(buffer)][0]


def _size(tensor: Any) -> int:
    return 0 if tensor is None else int(tensor.numel() * tensor.dtype.itemsize)


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence warnings of libraries: deprecations do not concern a user who asks for memory."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.set_verbosity(level)
