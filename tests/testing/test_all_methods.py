"""Every registered method keeps the public suite's rules on tiny seeded models: the fast part of `make conformance`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from llmrec_peft import registry

pytestmark = pytest.mark.trains

Check = Callable[..., Any]
METHODS = sorted(registry.plugins("adapters"))


@pytest.mark.parametrize("backbone", ["tiny-bert", "tiny-llama"])
@pytest.mark.parametrize("name", METHODS)
def test_method_keeps_every_rule_in_full_precision(name: str, backbone: str, check_adapter_method: Check) -> None:
    check_adapter_method(name, backbone=backbone, precision="fp32")


@pytest.mark.parametrize("name", ["adalora", "bottleneck", "dora", "loha", "lora", "prefix"])
def test_method_keeps_every_rule_on_four_bits_or_is_refused_as_declared(name: str, check_adapter_method: Check) -> None:
    pytest.importorskip("bitsandbytes")
    check_adapter_method(name, backbone="tiny-llama", precision="nf4")
