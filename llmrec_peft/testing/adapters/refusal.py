"""Refusals: what a method declares impossible is refused before loading, and fails if tried anyway."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from llmrec_peft.backbone import preflight
from llmrec_peft.errors import InputError
from llmrec_peft.testing.adapters.bench import FALLEN, RATES, STEPS, Bench
from llmrec_peft.testing.outcome import Outcome

if TYPE_CHECKING:
    from torch import nn

    from llmrec_peft.backbone.adapter import AdapterMethod


def refusal_names_what_works(bench: Bench, name: str) -> Outcome:
    """Check that `preflight.require_method` refuses in one line that names methods or precisions that would work."""
    try:
        preflight.require_method(name, bench.config, bench.backbone.facts, bench.section.quantization)
    except InputError as error:
        message = str(error)
        helps = "works with" in message or "these work" in message
        return Outcome(helps and "\n" not in message, note=message.split(";", maxsplit=1)[0])
    return Outcome(False, note="is refused by the configuration file, but not by the loaded model's facts")


def refused_is_impossible(bench: Bench) -> Outcome:
    """Check that attaching and training anyway raises, does not learn, or changes the base.

    If a method has a PEFT configuration (`peft_config`), plain peft is tried with it too: what plain peft can do
    must not be refused.
    """
    ways: list[tuple[str, Callable[[AdapterMethod[Any]], nn.Module]]] = [("", lambda m: m.attach(bench.backbone))]
    if hasattr(bench.method_class, "peft_config"):
        ways.append(("plain peft ", lambda m: _plain_peft(bench, m)))
    causes = []
    for who, attach in ways:
        share, cause = _attempt(bench, attach)
        if share is not None:
            return Outcome(False, share, FALLEN, f"{who}learns all the same, and the base is whole")
        causes.append(f"{who}{cause}")
    return Outcome(True, note="; ".join(causes))


def _attempt(bench: Bench, attach: Callable[[AdapterMethod[Any]], nn.Module]) -> tuple[float | None, str]:
    """Return the share of the loss that is left if the attempt works, and otherwise why it failed."""
    cause = ""
    for rate in RATES:
        bench.backbone.detach()
        method = bench.method()
        try:
            run = bench.train(method, attach(method), rate, STEPS, until=FALLEN)
        except Exception as error:  # noqa: BLE001 - any failure is the proof
            cause = f"raises {type(error).__name__}: {(str(error).strip() or '-').splitlines()[0][:160]}"
            break
        finally:
            bench.backbone.detach()
        share = run.losses[-1] / run.losses[0]
        if share <= FALLEN:
            if bench.base_digest() != bench.digest:
                cause = "writes into the base's weights"
                break
            return share, ""
        cause = "does not learn at any rate"
    return None, cause


def _plain_peft(bench: Bench, method: AdapterMethod[Any]) -> nn.Module:
    from peft import get_peft_model

    attached: nn.Module = get_peft_model(bench.backbone.model, method.peft_config(bench.backbone))  # type: ignore[attr-defined]
    return attached
