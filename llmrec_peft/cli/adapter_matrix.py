"""The matrix of adapter methods: where each works, from what the conformance suite proved; no torch here."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from llmrec_peft.backbone.adapter import Capabilities
from llmrec_peft.testing.results import PRECISIONS, SUITE, code_digest, shipped_results

KINDS = ("encoder", "decoder")
_MARKS = {"proved": "yes", "refused": "no", "declared": "(yes)", "undeclared": "(no)", "failed": "FAILED"}


def matrix_of(name: str, capabilities: Capabilities) -> dict[str, Any]:
    """What is known of a method.

    A pair of kind and precision is ``proved`` where every check of some backbone passed, ``refused`` where the
    method says no and trying it all the same came to nothing, and ``failed`` where a check did not hold. Pairs that
    the suite did not run, or ran on other code of the method, are ``declared`` or ``undeclared``, as the method has it.

    Args:
        name: Registered method.
        capabilities: What it declares.

    Returns:
        ``encoder`` and ``decoder``, each with a word a precision; ``mergeable`` and ``batchable`` with one word each.
    """
    shipped = shipped_results(name)
    code = code_digest(name) if shipped else ""
    # a proof of other code or by other rules proves nothing of what would run here
    cells = [
        (p, cell)
        for precisions in shipped.values()
        for p, cell in precisions.items()
        if (cell.get("suite", SUITE), cell.get("code", code)) == (SUITE, code)
    ]
    matrix: dict[str, Any] = {
        kind: {precision: _word(cells, kind, precision, capabilities) for precision in PRECISIONS} for kind in KINDS
    }
    merged = [cell["checks"].get("merges_as_declared", {}).get("ok") for _, cell in cells]
    if not capabilities.mergeable:
        matrix["mergeable"] = "no"
    elif False in merged:
        matrix["mergeable"] = "failed"
    else:
        matrix["mergeable"] = "proved" if True in merged else "declared"
    matrix["batchable"] = "unproved" if capabilities.batchable else "no"
    return matrix


def declared(capabilities: Capabilities) -> dict[str, bool]:
    """The declaration as plain values."""
    return asdict(capabilities)


def matrix_row(matrix: dict[str, Any]) -> list[str]:
    """Short cells for the table: four of encoders, four of decoders, mergeable, batchable."""
    cells = [_MARKS[matrix[kind][precision]] for kind in KINDS for precision in PRECISIONS]
    merging = {"proved": "yes", "declared": "(yes)", "failed": "FAILED"}.get(matrix["mergeable"], matrix["mergeable"])
    return [*cells, merging, matrix["batchable"]]


LEGEND = "yes, no: proved by the conformance suite; (yes), (no): declared; batchable across tenants: serving proves it"


def _word(cells: list[tuple[str, dict[str, Any]]], kind: str, precision: str, capabilities: Capabilities) -> str:
    found = {cell["status"] for p, cell in cells if p == precision and cell["kind"] == kind}
    for status, word in (("failed", "failed"), ("passed", "proved"), ("refused", "refused")):
        if status in found:
            return word
    quantization = precision if precision in ("int8", "nf4") else "none"
    possible = getattr(capabilities, kind) and quantization in capabilities.quantizations
    return "declared" if possible else "undeclared"
