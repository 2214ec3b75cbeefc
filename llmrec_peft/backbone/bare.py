"""BareTree: the module tree of a frozen model as loaded, to be restored after an adapter was inside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_TENSORS = ("_parameters", "_buffers")
_MARKS = ("peft_config", "_hf_peft_config_loaded")
"""Attributes that PEFT leaves on the model it was attached to."""


class BareTree:
    """Stores every module's children, parameters, buffers and hooks by reference; no tensor is copied.

    `restore` undoes whatever an adapter method replaced, wrapped or hooked, whether the method is PEFT's, ours or a
    stranger's, and whether it was attached completely or failed half-way. A parameter or buffer whose bytes were
    exchanged for others (``weight.data = …``, as PEFT's PiSSA does) gets its own back: they are held here. What it
    cannot undo is a value written into those bytes; nothing that reads an adapter from a file writes there.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._seen = [_Kept(module) for module in model.modules()]

    def restore(self) -> None:
        """Restore the tree: children, parameters, buffers, hooks; frozen and in evaluation mode."""
        for kept in self._seen:
            kept.restore()
        for mark in _MARKS:
            if mark in vars(self._model):
                delattr(self._model, mark)
        if any(getattr(kept.module, "gradient_checkpointing", False) for kept in self._seen):
            self._model.gradient_checkpointing_disable()  # type: ignore[operator]


class _Kept:
    """One module as it was."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._own = {name: dict(getattr(module, name)) for name in (*_TENSORS, "_modules", *_HOOKS)}
        self._forward = vars(module).get("forward")
        tensors = [tensor for name in _TENSORS for tensor in self._own[name].values() if tensor is not None]
        self._bytes = [(tensor, tensor.data) for tensor in tensors]

    def restore(self) -> None:
        module = self.module
        for name, kept in self._own.items():
            current = getattr(module, name)
            current.clear()
            current.update(kept)
        if vars(module).get("forward") is not self._forward:
            vars(module).pop("forward")
            if self._forward is not None:
                vars(module)["forward"] = self._forward
        module.training = False
        for tensor, own in self._bytes:
            if _apart(tensor, own):  # also bitsandbytes' int8 layer, which casts its bias to its last input's dtype
                tensor.data = own
            tensor.requires_grad_(False)
            tensor.grad = None


def _apart(tensor: Tensor, own: Tensor) -> bool:
    """Whether a tensor has other bytes than its own, or reads them otherwise."""
    return (
        tensor.data_ptr() != own.data_ptr()
        or tensor.dtype != own.dtype
        or tensor.shape != own.shape
        or tensor.stride() != own.stride()
    )
