"""Methods of ours under names of their own in PEFT, so that stock `peft` loads what we save.

Calling `llmrec_adapters.through_peft.types.register_all` before ``PeftModel.from_pretrained`` is all it takes. PEFT's
own `register_peft_method` wants the name in its ``PeftType`` enum, so the enum is extended; writing the mappings alone
would leave `PeftMixedModel` and `get_model_status` in the dark.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

OWN = {"bitfit": "BitFit", "bottleneck": "Bottleneck", "full": "Full", "none": "NoAdapter"}
"""Methods that PEFT lacks: module and class."""


def register_all() -> None:
    """Register every method of this package that PEFT does not have."""
    for module, method in OWN.items():
        getattr(import_module(f"llmrec_adapters.{module}"), method).register_with_peft()


def register(name: str, config_cls: Any, model_cls: Any, prefix: str) -> None:
    """Register one method under its upper-case name; a second call does nothing.

    Args:
        name: Lower-case name.
        config_cls: Its `PeftConfig`.
        model_cls: Its `BaseTuner`.
        prefix: What names of its parameters begin with.
    """
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
    from peft.utils import PeftType, register_peft_method

    extend_peft_type(name.upper())
    if PeftType(name.upper()) not in PEFT_TYPE_TO_CONFIG_MAPPING:
        register_peft_method(name=name, config_cls=config_cls, model_cls=model_cls, prefix=prefix)


def extend_peft_type(name: str) -> None:
    """Add a member to PEFT's enum of methods."""
    from peft.utils import PeftType

    if name in PeftType.__members__:
        return
    member: Any = str.__new__(PeftType, name)
    member._name_ = name
    member._value_ = name
    member._sort_order_ = len(PeftType)
    PeftType._member_names_.append(name)
    PeftType._member_map_[name] = member
    PeftType._value2member_map_[name] = member
    type.__setattr__(PeftType, name, member)
