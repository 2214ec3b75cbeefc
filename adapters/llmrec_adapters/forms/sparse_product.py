"""Sparse product: inputs times matrices of which few entries are not zero, one matrix a row of a batch, in fp32.

A matrix is two lists: ``places``, where its entries lie, and their ``values``. Forward and backward take as many
multiplications a token as there are values, by torch's products of CSR matrices; no dense matrix is made. It is an
operator of torch's, so that `llmrec memory` can run it on tensors without data.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

import torch
from torch import Tensor


def sparse_product(inputs: Tensor, values: Tensor, places: Tensor, outputs: int) -> Tensor:
    """Return S x of each row's matrix S [outputs, in] and each of its tokens x.

    Args:
        inputs: [rows, tokens, in], any floating format.
        values: S's entries, float32 [rows, n].
        places: Their places, output · in + input, int32 or int64 [rows, n]; ascending, with zeros behind them where a
            row has fewer values, which are zeros there too.
        outputs: Rows of S.

    Returns:
        float32 [rows, tokens, outputs].

    >>> x = torch.tensor([[[1.0, 10.0, 100.0]]])
    >>> sparse_product(x, torch.tensor([[2.0, 3.0]]), torch.tensor([[1, 5]]), 2).tolist()
    [[[20.0, 300.0]]]
    """
    product: Tensor = _product(inputs, values, places, outputs)
    return product


@torch.library.custom_op("llmrec_adapters::sparse_product", mutates_args=())
def _product(inputs: Tensor, values: Tensor, places: Tensor, outputs: int) -> Tensor:
    rows, tokens, width = inputs.shape
    matrices = _block_diagonal(values, places, outputs, width)
    product: Tensor = matrices @ _columns(inputs.to(values.dtype))
    return product.view(rows, outputs, tokens).transpose(1, 2).contiguous()


@_product.register_fake
def _(inputs: Tensor, values: Tensor, places: Tensor, outputs: int) -> Tensor:
    return inputs.new_empty(*inputs.shape[:2], outputs, dtype=values.dtype)


@torch.library.custom_op("llmrec_adapters::sparse_product_of_gradient", mutates_args=())
def _transposed_product(gradient: Tensor, values: Tensor, places: Tensor, width: int) -> Tensor:
    """Return Sᵀ g, [rows, tokens, width]: the gradient of inputs."""
    outputs = gradient.shape[2]
    order = (places % width * outputs + places // width).argsort(dim=1)
    turned = (places % width * outputs + places // width).gather(1, order)
    rows, tokens, _ = gradient.shape
    matrices = _block_diagonal(values.gather(1, order), turned, width, outputs, padded=False)
    product: Tensor = matrices @ _columns(gradient)
    return product.view(rows, width, tokens).transpose(1, 2).contiguous()


@_transposed_product.register_fake
def _(gradient: Tensor, values: Tensor, places: Tensor, width: int) -> Tensor:
    return gradient.new_empty(*gradient.shape[:2], width)


@torch.library.custom_op("llmrec_adapters::sparse_product_of_both", mutates_args=())
def _sampled_product(gradient: Tensor, inputs: Tensor, places: Tensor) -> Tensor:
    """Return Σ g xᵀ over tokens at the places alone, [rows, n]: the gradient of values."""
    rows, tokens, width = inputs.shape
    pattern = _block_diagonal(torch.zeros_like(places, dtype=gradient.dtype), places, gradient.shape[2], width)
    others = inputs.to(gradient.dtype).permute(1, 0, 2).reshape(tokens, rows * width)
    found = torch.sparse.sampled_addmm(pattern, _columns(gradient), others, beta=0.0)
    entries: Tensor = found.values().view(places.shape).clone()
    return entries


@_sampled_product.register_fake
def _(gradient: Tensor, inputs: Tensor, places: Tensor) -> Tensor:
    return gradient.new_empty(places.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    states, values, places, _ = inputs
    ctx.save_for_backward(states, values, places)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    states, values, places = ctx.saved_tensors
    of_states = of_values = None
    if ctx.needs_input_grad[0]:
        of_states = _transposed_product(gradient, values, places, states.shape[2]).to(states.dtype)
    if ctx.needs_input_grad[1]:
        of_values = _sampled_product(gradient, states, places)
    return of_states, of_values, None, None


_product.register_autograd(_backward, setup_context=_keep)


def _block_diagonal(values: Tensor, places: Tensor, height: int, width: int, padded: bool = True) -> Tensor:
    """Return the rows' matrices [height, width] as the blocks of one, CSR [rows · height, rows · width].

    Args:
        values: [rows, n].
        places: [rows, n], ascending.
        height: Rows of a matrix.
        width: Columns of a matrix.
        padded: Whether zeros may follow a row's places; they are put into the last place, which keeps the order.
    """
    _beta_is_known()
    rows, count = places.shape
    places = places.long()
    if padded:
        behind = (places == 0) & (torch.arange(count, device=places.device) > 0)
        places = places.masked_fill(behind, height * width - 1)
    block = torch.arange(rows, device=places.device).unsqueeze(1)
    flat = (places + block * (height * width)).flatten()
    starts = torch.searchsorted(flat, torch.arange(rows * height + 1, device=places.device) * width)
    columns = (places % width + block * width).flatten()
    return torch.sparse_csr_tensor(
        starts, columns, values.flatten(), (rows * height, rows * width), check_invariants=False
    )


def _columns(states: Tensor) -> Tensor:
    """Return states [rows, tokens, width] with tokens as columns, [rows · width, tokens]."""
    return states.transpose(1, 2).reshape(-1, states.shape[1])


@functools.cache
def _beta_is_known() -> None:
    """Let torch say once, unheard, that its CSR matrices are in beta."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.eye(2).to_sparse_csr()
