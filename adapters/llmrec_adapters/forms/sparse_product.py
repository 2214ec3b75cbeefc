"""Sparse product: inputs times matrices of which few entries are not zero, one matrix a row of a batch.

A matrix is two lists: ``places``, where its entries lie, and their ``values``. Wide matrices are multiplied as torch's
CSR matrices, forward and backward, in fp32: as many multiplications a token as there are values. Small ones with many
tokens are laid out for the product, which then takes less time. Either way nothing dense is kept for the backward pass.
The products are operators of torch's, so that `llmrec memory` can run them on tensors without data.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

import torch
from torch import Tensor

DENSE_WIDTH = {2: 512, 4: 160}
"""In · out / (in + out) up to which a matrix is laid out, by bytes of a number: half the side of a square one. On one
core with AVX512-BF16, 1,024 tokens through 384 x 384 took 1.4 ms in bf16 so, 5.5 ms in fp32, and 5 ms as CSR in either,
most of it to turn inputs and outputs."""
_LAYOUT = 64
"""Laying a matrix out costs as much as this many tokens' products with it."""


def sparse_product(inputs: Tensor, values: Tensor, places: Tensor, outputs: int) -> Tensor:
    """Return S x of each row's matrix S [outputs, in] and each of its tokens x.

    Args:
        inputs: [rows, tokens, in], any floating format.
        values: S's entries, [rows, n]; they are rounded to the format of `inputs`.
        places: Their places, output · in + input, int32 or int64 [rows, n]; ascending, with zeros behind them where a
            row has fewer values, which are zeros there too.
        outputs: Rows of S.

    Returns:
        [rows, tokens, outputs] in the format of `inputs`.

    >>> x = torch.tensor([[[1.0, 10.0, 100.0]]])
    >>> sparse_product(x, torch.tensor([[2.0, 3.0]]), torch.tensor([[1, 5]]), 2).tolist()
    [[[20.0, 300.0]]]
    """
    product: Tensor = _product(inputs, values.to(inputs.dtype), places, outputs)
    return product


@torch.library.custom_op("llmrec_adapters::sparse_product", mutates_args=())
def _product(inputs: Tensor, values: Tensor, places: Tensor, outputs: int) -> Tensor:
    rows, tokens, width = inputs.shape
    if _laid_out(inputs, outputs, width):
        return inputs @ _dense(values, places, outputs, width).transpose(1, 2)
    product = _block_diagonal(values.float(), places, outputs, width) @ _columns(inputs.float())
    return product.view(rows, outputs, tokens).transpose(1, 2).to(inputs.dtype).contiguous()


@_product.register_fake
def _(inputs: Tensor, values: Tensor, places: Tensor, outputs: int) -> Tensor:
    return inputs.new_empty(*inputs.shape[:2], outputs)


@torch.library.custom_op("llmrec_adapters::sparse_product_of_gradient", mutates_args=())
def _transposed_product(gradient: Tensor, values: Tensor, places: Tensor, width: int) -> Tensor:
    """Return Sᵀ g, [rows, tokens, width]: the gradient of inputs."""
    rows, tokens, outputs = gradient.shape
    if _laid_out(gradient, outputs, width):
        return gradient @ _dense(values, places, outputs, width)
    places = _in_order(places, outputs * width)
    turned, order = (places % width * outputs + places // width).sort(dim=1)
    product = _block_diagonal(values.gather(1, order).float(), turned, width, outputs) @ _columns(gradient.float())
    return product.view(rows, width, tokens).transpose(1, 2).to(gradient.dtype).contiguous()


@_transposed_product.register_fake
def _(gradient: Tensor, values: Tensor, places: Tensor, width: int) -> Tensor:
    return gradient.new_empty(*gradient.shape[:2], width)


@torch.library.custom_op("llmrec_adapters::sparse_product_of_both", mutates_args=())
def _sampled_product(gradient: Tensor, inputs: Tensor, places: Tensor) -> Tensor:
    """Return Σ g xᵀ over tokens at the places alone, [rows, n]: the gradient of values; zeros where none stand."""
    rows, tokens, width = inputs.shape
    outputs = gradient.shape[2]
    if _laid_out(inputs, outputs, width):
        whole = (gradient.transpose(1, 2) @ inputs).flatten(1)
        found = whole.gather(1, places.long())
    else:
        pattern = _block_diagonal(torch.zeros(places.shape, device=places.device), places, outputs, width)
        others = inputs.float().permute(1, 0, 2).reshape(tokens, rows * width)
        sampled = torch.sparse.sampled_addmm(pattern, _columns(gradient.float()), others, beta=0.0)
        found = sampled.values().view(places.shape).to(inputs.dtype)
    return found.masked_fill(_behind(places), 0.0)


@_sampled_product.register_fake
def _(gradient: Tensor, inputs: Tensor, places: Tensor) -> Tensor:
    return inputs.new_empty(places.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    states, values, places, _ = inputs
    ctx.save_for_backward(states, values, places)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    states, values, places = ctx.saved_tensors
    of_states = of_values = None
    if ctx.needs_input_grad[0]:
        of_states = _transposed_product(gradient, values, places, states.shape[2])
    if ctx.needs_input_grad[1]:
        of_values = _sampled_product(gradient, states, places)
    return of_states, of_values, None, None


_product.register_autograd(_backward, setup_context=_keep)


def _laid_out(states: Tensor, height: int, width: int) -> bool:
    """Tell whether a matrix [height, width] is laid out for its product with states [rows, tokens, …]."""
    tokens, most = states.shape[1], DENSE_WIDTH[min(states.element_size(), 4)]
    return height * width * (tokens + _LAYOUT) <= most * (height + width) * tokens


def _dense(values: Tensor, places: Tensor, height: int, width: int) -> Tensor:
    """Return the rows' matrices, [rows, height, width]."""
    rows = len(places)
    return values.new_zeros(rows, height * width).scatter_add_(1, places.long(), values).view(rows, height, width)


def _block_diagonal(values: Tensor, places: Tensor, height: int, width: int) -> Tensor:
    """Return the rows' matrices [height, width] as the blocks of one, CSR [rows · height, rows · width]."""
    _beta_is_known()
    rows = len(places)
    places = _in_order(places, height * width)
    block = torch.arange(rows, device=places.device).unsqueeze(1)
    flat = (places + block * (height * width)).flatten()
    starts = torch.searchsorted(flat, torch.arange(rows * height + 1, device=places.device) * width)
    columns = (places % width + block * width).flatten()
    return torch.sparse_csr_tensor(
        starts, columns, values.flatten(), (rows * height, rows * width), check_invariants=False
    )


def _behind(places: Tensor) -> Tensor:
    """Return which places stand behind a row's own, bool [rows, n]: zeros after the first."""
    return (places == 0) & (torch.arange(places.shape[1], device=places.device) > 0)


def _in_order(places: Tensor, size: int) -> Tensor:
    """Return ascending places, int64: those behind a row's own become the last of a matrix of `size` entries."""
    return places.long().masked_fill(_behind(places), size - 1)


def _columns(states: Tensor) -> Tensor:
    """Return states [rows, tokens, width] with tokens as columns, [rows · width, tokens]."""
    return states.transpose(1, 2).reshape(-1, states.shape[1])


@functools.cache
def _beta_is_known() -> None:
    """Let torch say once, unheard, that its CSR matrices are in beta."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.eye(2).to_sparse_csr()
