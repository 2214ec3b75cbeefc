"""BareTree: the module tree of a frozen model as loaded, to be restored after an adapter was inside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_MARKS = ("peft_config", "_hf_peft_config_loaded")
"""Attributes that PEFT leaves on the model it was attached to."""


class BareTree:
    """Stores every module's children, parameters and hooks by reference; no tensor is copied.

    `restore` undoes whatever an adapter method replaced, wrapped or hooked, whether the method is PEFT's, ours or a
    stranger's, and whether it was attached completely or failed half-way.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._seen: list[tuple[nn.Module, dict[str, Any], dict[str, Any], list[dict[int, Any]]]] = [
            (module, dict(module._modules), dict(module._parameters), [dict(getattr(module, h)) for h in _HOOKS])
            for module in model.modules()
        ]
        self._dtypes = {id(parameter): parameter.dtype for parameter in model.parameters()}

    def restore(self) -> None:
        """Restore the tree: children, parameters, hooks; frozen and in evaluation mode."""
        for module, children, parameters, hooks in self._seen:
            module._modules.clear()
            module._modules.update(children)
            module._parameters.clear()
            module._parameters.update(parameters)
            for name, kept in zip(_HOOKS, hooks, strict=True):
                current = getattr(module, name)
                current.clear()
                current.update(kept)
            module.training = False
            for parameter in parameters.values():
                if parameter is not None:
                    parameter.requires_grad_(False)
                    parameter.grad = None
                    dtype = self._dtypes[id(parameter)]
                    if parameter.dtype != dtype:  # bitsandbytes' int8 layer casts its bias to its last input's dtype
                        parameter.data = parameter.data.to(dtype)
        for mark in _MARKS:
            if mark in vars(self._model):
                delattr(self._model, mark)
        if any(getattr(module, "gradient_checkpointing", False) for module, *_ in self._seen):
            self._model.gradient_checkpointing_disable()  # type: ignore[operator]
