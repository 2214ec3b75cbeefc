"""Suite: all checks of one method on one frozen model in one precision."""

from __future__ import annotations

import datetime
import functools
import gc
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft import registry
from llmrec_peft.backbone import preflight
from llmrec_peft.backbone.quiet import quiet_transformers
from llmrec_peft.errors import InputError
from llmrec_peft.options import validated
from llmrec_peft.testing.outcome import Outcome, failures, raised, tried
from llmrec_peft.testing.results import GROUPED, PRECISIONS, SUITE, code_digest, versions

if TYPE_CHECKING:
    from llmrec_peft.recipe.sections import BackboneSection

_TOP = {"smollm2": "top-4"}
"""Layers that are adapted in the checks, as is common in practice, if a method has the option; else top-2."""
_DEFAULT = {"smollm2": "bf16"}
"""Default precision of a backbone; else fp32."""


@dataclass
class CellResult:
    """Results of the suite in one cell.

    Attributes:
        method: Registered method.
        backbone: Alias, ``tiny-*`` or folder.
        kind: Encoder or decoder.
        precision: ``fp32``, ``bf16``, ``int8`` or ``nf4``.
        status: ``passed``; ``refused`` if the method declares it impossible and it is; ``failed``.
        checks: Outcome of each check.
        parameters: Trained parameters.
        seconds: Duration, loading included.
        tracebacks: Tracebacks of checks that raised.
    """

    method: str
    backbone: str
    kind: str
    precision: str
    status: str = "failed"
    checks: dict[str, Outcome] = field(default_factory=dict)
    parameters: int | None = None
    seconds: float = 0.0
    tracebacks: dict[str, str] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """Return the entry of the result file."""
        return {
            "status": self.status,
            "kind": self.kind,
            "seconds": round(self.seconds, 1),
            "parameters": self.parameters,
            "checks": {name: outcome.plain() for name, outcome in self.checks.items()},
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
            "suite": SUITE,
            "code": code_digest(self.method),
            "versions": versions(self.method),
        }

    @property
    def mixing(self) -> str:
        """How rows of the method share passes with others: ``proved``, ``grouped: …``, ``failed``; empty if not run."""
        outcome = self.checks.get("mixing")
        if outcome is None or not outcome.ok:
            return "" if outcome is None else "failed"
        return outcome.note if outcome.note.startswith(GROUPED) else "proved"

    def failures(self) -> list[str]:
        """Return one line for each check that failed."""
        return failures(self.checks)


def default_precision(backbone: str) -> str:
    """Return the precision in which a backbone is checked by default."""
    return _DEFAULT.get(backbone, "fp32")


def check_method(
    name: str, backbone: str = "tiny-bert", precision: str | None = None, options: dict[str, Any] | None = None
) -> CellResult:
    """Run every check of one method on one backbone.

    Args:
        name: Registered method.
        backbone: Alias, ``tiny-bert``, ``tiny-llama``, …, or a local folder.
        precision: ``fp32``, ``bf16``, ``int8`` or ``nf4``; None for the backbone's own.
        options: The method's options; if it has ``layers`` and none are given, the top ones are used.

    Raises:
        InputError: For an unknown method, backbone, precision or option.
    """
    precision = precision or default_precision(backbone)
    section = section_of(backbone, precision)
    method = registry.get("adapters", name)
    chosen = dict(options or {})
    if "layers" in method.Config.model_fields:
        chosen.setdefault("layers", _TOP.get(backbone, "top-2"))
    config = validated(method.Config, chosen, "adapter")
    started = time.monotonic()
    with warnings.catch_warnings(), quiet_transformers():
        warnings.simplefilter("ignore")
        result = _run(name, config, section, CellResult(name, backbone, "", precision))
    result.seconds = time.monotonic() - started
    gc.collect()
    return result


def section_of(backbone: str, precision: str) -> BackboneSection:
    """Return the recipe block that loads a backbone in a precision; quantized ones compute in the best format here.

    Raises:
        InputError: For an unknown precision or made-up backbone.
    """
    from llmrec_peft.recipe.sections import BackboneSection

    if precision not in PRECISIONS:
        raise InputError(f"precision: {precision!r} is none of {', '.join(PRECISIONS)}")
    name = str(_tiny(backbone)) if backbone.startswith("tiny-") and not Path(backbone).exists() else backbone
    if precision in ("fp32", "bf16"):
        return BackboneSection.model_validate({"name": name, "precision": precision})
    return BackboneSection.model_validate({"name": name, "quantization": precision})


@functools.cache
def _tiny(name: str) -> Path:
    """Return the folder of a tiny backbone, made once per process."""
    from llmrec_peft.testing.adapters.backbones import make_tiny

    folder = Path(_scratch().name) / name
    make_tiny(name, folder)
    return folder


@functools.cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="llmrec-testing-")


def _run(name: str, config: Any, section: BackboneSection, result: CellResult) -> CellResult:
    from llmrec_peft.testing.adapters.bench import Bench
    from llmrec_peft.testing.adapters.checks import BEHAVIOUR, merges_as_declared, prove
    from llmrec_peft.testing.adapters.file_checks import FILES
    from llmrec_peft.testing.adapters.mixing import mixing
    from llmrec_peft.testing.adapters.refusal import refusal_names_what_works, refused_is_impossible

    bench = Bench(registry.get("adapters", name), config, section)
    result.kind = bench.backbone.kind
    facts = preflight.known_facts(section.name, section.revision) or bench.backbone.facts
    if preflight.refusal(name, config, facts, section.quantization) is not None:
        _note(result, "refusal_names_what_works", lambda: refusal_names_what_works(bench, name))
        _note(result, "refused_is_impossible", lambda: refused_is_impossible(bench))
        result.status = "refused" if all(outcome.ok for outcome in result.checks.values()) else "failed"
        return result
    with tempfile.TemporaryDirectory(prefix="llmrec-testing-") as work:
        try:
            proof = prove(bench, Path(work) / "adapter")
        except Exception as error:  # noqa: BLE001 - a stranger's method may raise anything
            result.checks["attaches_trains_and_saves"] = raised(error)
            result.tracebacks["attaches_trains_and_saves"] = "".join(traceback.format_exception(error))
            return result
        result.parameters = sum(p.numel() for p in proof.run.model.parameters() if p.requires_grad) or None
        last = {"merges_as_declared": merges_as_declared}  # changes the base
        for check_name, check in {**BEHAVIOUR, **FILES, "mixing": mixing, **last}.items():
            _note(result, check_name, functools.partial(check, proof))
            bench.backbone.detach()
    result.parameters = bench.method().parameter_count(bench.backbone.shapes)
    result.status = "passed" if all(outcome.ok for outcome in result.checks.values()) else "failed"
    return result


def _note(result: CellResult, name: str, check: Callable[[], Outcome | None]) -> None:
    outcome, text = tried(check)
    if outcome is not None:
        result.checks[name] = outcome
    if text:
        result.tracebacks[name] = text
