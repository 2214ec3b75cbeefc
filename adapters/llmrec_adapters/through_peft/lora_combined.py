"""LoRA adapters that become one, by PEFT's `add_weighted_adapter`.

Updates are combined, not their factors: PEFT's own "linear" adds the A's and the B's, whose product has terms of one
adapter's B and another's A. Where all ranks together are kept, PEFT's "cat" gives the weighted sum exactly; a lower
rank is the best approximation of it ("svd"), and TIES and DARE work on the updates ("ties_svd", …).

PEFT combines on layers of the base's shapes that hold no weights: in the base itself it would round the sum to the
base's number format. It gives the result the scale alpha / √rank where the adapters are rank-stabilized, though its
numbers are made for a scale of 1; so all of them are handed over as plain LoRA of the same scale.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft.plugins import InputError, saved_by_site, write_adapter

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmrec_peft.plugins import AdapterMethod, Backbone, Combination, SavedAdapter

_KINDS = {"linear": "svd", "ties": "ties_svd", "dare-linear": "dare_linear_svd", "dare-ties": "dare_ties_svd"}
"""PEFT's names."""
_INSIDE = "base_model.model."
Factors = dict[str, tuple["Tensor", "Tensor"]]
"""A [rank, in] and B [out, rank] by module."""


def rank_of_all(methods: Sequence[Any], backbone: Backbone, rank: int | None) -> int:
    """Return the rank of an adapter that combines others.

    Args:
        methods: `Lora` of each of them.
        backbone: The bare base.
        rank: Rank that is asked for; None for all ranks together.

    Raises:
        InputError: If a rank is below 1 or above what the base allows.
    """
    every = sum(int(method.saved_config(backbone).r) for method in methods)
    width = int(backbone.facts.width)
    if rank is None and every > width:
        raise InputError(f"the ranks add up to {every}, above the base's width {width}: choose a rank up to {width}")
    if rank is not None and not 1 <= rank <= min(width, 1024):
        raise InputError(f"rank {rank}: an adapter on this base has a rank from 1 to {min(width, 1024)}")
    return every if rank is None else rank


def write_combined(
    method: AdapterMethod[Any],
    parts: Sequence[SavedAdapter],
    combination: Combination,
    backbone: Backbone,
    folder: Path,
) -> None:
    """Write the combination of saved LoRA adapters as one with a method's options.

    Args:
        method: `Lora` with the options of the result; its scale is taken into account.
        parts: The adapters.
        combination: Weights, and how.
        backbone: The bare base; it is bare again afterwards.
        folder: Folder to write to.

    Raises:
        InputError: If an adapter does not fit the base, or changes other layers than the result.
    """
    import torch

    target: Any = method.saved_config(backbone)  # type: ignore[attr-defined] # a PeftMethod
    with torch.random.fork_rng(devices=[]):  # fresh modules are drawn before they are filled
        tensors = [_loaded(part, backbone) for part in parts]
    own = {module.name for module in _targets(method, backbone)}
    for found in tensors:
        if found.keys() != own:
            odd = sorted(found.keys() ^ own)[0]
            raise InputError(
                f"adapter: the layers that are adapted differ, such as {odd} ({len(found)} against {len(own)}):"
                " only adapters on the same layers are combined"
            )
    scales = [_scale(part.method.saved_config(backbone)) / _scale(target) for part in parts]  # type: ignore[attr-defined]
    combined = _combined(tensors, scales, combination, int(target.r))
    named = {f"{_INSIDE}{site}.lora_A.weight": a for site, (a, _) in combined.items()}
    named |= {f"{_INSIDE}{site}.lora_B.weight": b for site, (_, b) in combined.items()}
    write_adapter(folder, backbone, {**target.to_dict(), "inference_mode": True}, named)


def _targets(method: Any, backbone: Backbone) -> Any:
    from llmrec_peft.plugins import target_linears

    return target_linears(backbone.shapes, method.config.targets or "query-value", method.config.layers)


def _scale(config: Any) -> float:
    return float(config.lora_alpha) / (math.sqrt(config.r) if config.use_rslora else config.r)


def _loaded(part: SavedAdapter, backbone: Backbone) -> Factors:
    """Return an adapter's factors in fp32 on the CPU, checked by its method as for a run."""
    from peft import get_peft_model_state_dict

    try:
        model = part.method.load(backbone, part.folder)
        saved = get_peft_model_state_dict(model, save_embedding_layers=False)
        tensors = {name: tensor.detach().float().cpu().clone() for name, tensor in saved.items()}
    finally:
        backbone.detach()
    return {site: (a, b) for site, (a, b) in saved_by_site(tensors, "lora_A.weight", "lora_B.weight").items()}  # type: ignore[arg-type]


def _combined(parts: Sequence[Factors], scales: Sequence[float], combination: Combination, rank: int) -> Factors:
    """Return the factors of the combination for a scale of 1, float32 [rank, in] and [out, rank] by module.

    Args:
        parts: Factors of each adapter.
        scales: Scale of each, relative to that of the result.
        combination: Weights, and how.
        rank: Rank of the result.
    """
    import torch

    ranks = [len(next(iter(part.values()))[0]) for part in parts]
    weights = [weight * scale for weight, scale in zip(combination.weights, scales, strict=True)]
    kind = "cat" if combination.how == "linear" and rank == sum(ranks) else _KINDS[combination.how]
    names = [str(at) for at in range(len(parts))]
    if len(parts) == 1 and ranks != [rank]:  # PEFT gives a single adapter its own rank, whatever is asked for
        names, weights = names * 2, [weights[0] / 2.0] * 2
    sites = list(parts[0])
    with torch.random.fork_rng(devices=[]), torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The density .* no pruning will be performed")
        tuner = _hollow(parts, ranks)
        torch.manual_seed(combination.seed)
        tuner.add_weighted_adapter(
            names,
            weights,
            "combined",
            combination_type=kind,
            svd_rank=rank,
            svd_full_matrices=False,
            density=combination.density,
        )
    found = {}
    for at, site in enumerate(sites):
        layer = tuner.model[str(at)]
        a, b = (part["combined"].weight.detach() for part in (layer.lora_A, layer.lora_B))
        found[site] = _of_rank(a, b, rank)
    return found


def _hollow(parts: Sequence[Factors], ranks: Sequence[int]) -> Any:
    """Return PEFT's `LoraModel` over layers without weights, with every adapter inside."""
    import torch
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel
    from torch import nn

    sites = list(parts[0])
    layers: dict[str, nn.Module] = {}
    for at, site in enumerate(sites):
        a, b = parts[0][site]
        layer = nn.Linear(1, 1, bias=False)
        layer.in_features, layer.out_features = a.shape[1], b.shape[0]
        layer.weight = nn.Parameter(torch.zeros(1, 1).expand(b.shape[0], a.shape[1]), requires_grad=False)
        layers[str(at)] = layer
    base = nn.ModuleDict(layers)
    base.config = {"model_type": "custom"}  # type: ignore[assignment]
    tuner: Any = None
    for number, (part, rank) in enumerate(zip(parts, ranks, strict=True)):
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules=set(layers))
        if tuner is None:
            tuner = LoraModel(base, config, str(number))
        else:
            tuner.peft_config[str(number)] = config
            tuner.inject_adapter(tuner.model, str(number))
        for at, site in enumerate(sites):
            layer = tuner.model[str(at)]
            for factor, tensor in zip((layer.lora_A, layer.lora_B), part[site], strict=True):
                factor[str(number)].weight.data = tensor
    return tuner


def _of_rank(a: Tensor, b: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Fill factors of a lower rank, of a layer smaller than the rank, with zeros."""
    from torch.nn.functional import pad

    missing = rank - len(a)
    return pad(a, (0, 0, 0, missing)).contiguous(), pad(b, (0, missing)).contiguous()
