"""`none` for stock PEFT: a tuner that adds nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils import PeftType

from llmrec_adapters.through_peft.types import extend_peft_type

extend_peft_type("NONE")


@dataclass
class NoneConfig(PeftConfig):  # type: ignore[misc]
    """There is nothing to configure."""

    target_modules: list[str] = field(default_factory=list)
    """Always empty."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PeftType("NONE")


class NoneModel(BaseTuner):  # type: ignore[misc]
    """PEFT tuner that leaves the model unchanged."""

    prefix = "none_"
    tuner_layer_cls = BaseTunerLayer
    target_module_mapping: dict[str, Any] = {}  # noqa: RUF012 - the base class' attribute

    def inject_adapter(self, model: Any, adapter_name: str, *_: Any, **__: Any) -> None:
        """Inject nothing."""
        for parameter in model.parameters():
            parameter.requires_grad = False

    def _create_and_replace(self, *_: Any, **__: Any) -> None:
        raise AssertionError("nothing is replaced")
