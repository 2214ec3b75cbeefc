"""Module trees of one transformer: copies over the same tensors, and where an adapted one differs from the bare one."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def tree_of(model: nn.Module) -> nn.Module:
    """Return a copy of a module tree whose parameters and buffers are those of the original."""
    kept: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, kept)


def sites_of(adapted: nn.Module, bare: nn.Module, whole: nn.Module) -> dict[str, nn.Module] | None:
    """Return the modules of an adapted transformer that stand in the place of, or are hooked to, a bare leaf.

    Args:
        adapted: The transformer with an adapter inside.
        bare: The same transformer without one.
        whole: What the adapter method returned, whose trained parameters all have to lie in such modules.

    Returns:
        Modules by the name of the leaf in the bare transformer; None where an adapter is anywhere else.
    """
    found: dict[str, nn.Module] = {}
    if not _walk(adapted, bare, "", found):
        return None
    inside = {id(parameter) for module in found.values() for parameter in module.parameters()}
    trained = [parameter for parameter in whole.parameters() if parameter.requires_grad]
    return found if trained and all(id(parameter) in inside for parameter in trained) else None


def _walk(adapted: nn.Module, bare: nn.Module, name: str, found: dict[str, nn.Module]) -> bool:
    """Note where two trees differ; returns False where they do so elsewhere than at a leaf of the bare one."""
    children, own = dict(bare.named_children()), dict(adapted.named_children())
    if not children:
        if type(adapted) is not type(bare) or own or _hooks(adapted) != _hooks(bare) or _tensors(adapted, bare):
            found[name] = adapted
        return True
    if type(adapted) is not type(bare) or _hooks(adapted) != _hooks(bare) or _tensors(adapted, bare):
        return False
    if children.keys() != own.keys():
        return False
    return all(_walk(own[child], children[child], f"{name}.{child}" if name else child, found) for child in children)


def _hooks(module: nn.Module) -> tuple[int, int, bool]:
    return len(module._forward_hooks), len(module._forward_pre_hooks), "forward" in vars(module)


def _tensors(adapted: nn.Module, bare: nn.Module) -> bool:
    """Whether a module's own tensors are others than the bare one's."""
    for kind in ("_parameters", "_buffers"):
        left, right = getattr(adapted, kind), getattr(bare, kind)
        if left.keys() != right.keys() or any(left[name] is not right[name] for name in left):
            return True
    return False
