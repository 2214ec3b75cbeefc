"""Say where each adapter method works, from what the conformance suite proved; imports no torch."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from llmrec_peft.backbone.adapter import Capabilities
from llmrec_peft.testing.results import GROUPED, PRECISIONS, SUITE, code_digest, shipped_results

KINDS = ("encoder", "decoder")
_MARKS = {"proved": "yes", "refused": "no", "declared": "(yes)", "undeclared": "(no)", "failed": "FAILED"}


def matrix_of(name: str, capabilities: Capabilities) -> dict[str, Any]:
    """Return where a method works.

    A pair of kind and precision is ``proved`` where every check passed on some backbone, ``refused`` where the method
    declares that it does not work and forcing it failed, and ``failed`` where a check failed. Pairs that the suite did
    not run, or ran on other code of the method, are ``declared`` or ``undeclared``, as the method's capabilities say.

    Args:
        name: Registered method.
        capabilities: Its declaration.

    Returns:
        ``encoder`` and ``decoder``, each with a word a precision; ``mergeable`` and ``mixing`` with one word each;
        ``grouped_because``, the reason where rows of the method do not share a pass with rows of other adapters.
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
    return matrix | _mixing([cell["checks"]["mixing"] for _, cell in cells if "mixing" in cell["checks"]])


def _mixing(outcomes: list[dict[str, Any]]) -> dict[str, str | None]:
    """Return whether rows of the method share passes with rows of other adapters, and if not, why."""
    grouped = [one["note"].removeprefix(GROUPED) for one in outcomes if one.get("note", "").startswith(GROUPED)]
    if not all(one["ok"] for one in outcomes):
        word = "failed"
    elif len(grouped) == len(outcomes):
        word = "grouped" if grouped else "unproved"
    else:
        word = "partly" if grouped else "proved"
    return {"mixing": word, "grouped_because": grouped[0] if grouped else None}


def declared(capabilities: Capabilities) -> dict[str, bool]:
    """Return the declaration as plain values."""
    return asdict(capabilities)


def matrix_row(matrix: dict[str, Any]) -> list[str]:
    """Return the cells of the table: four for encoders, four for decoders, mergeable, mixing."""
    cells = [_MARKS[matrix[kind][precision]] for kind in KINDS for precision in PRECISIONS]
    merging = {"proved": "yes", "declared": "(yes)", "failed": "FAILED"}.get(matrix["mergeable"], matrix["mergeable"])
    mixing = {"proved": "yes", "failed": "FAILED"}.get(matrix["mixing"], matrix["mixing"])
    return [*cells, merging, mixing]


LEGEND = (
    "yes, no: proved by the conformance suite; (yes), (no): declared by the method\n"
    "mixing: rows of many tenants' adapters in one pass; grouped: rows of each tenant in a pass of their own"
)


def _word(cells: list[tuple[str, dict[str, Any]]], kind: str, precision: str, capabilities: Capabilities) -> str:
    statuses = {cell["status"] for p, cell in cells if p == precision and cell["kind"] == kind}
    for status, word in (("failed", "failed"), ("passed", "proved"), ("refused", "refused")):
        if status in statuses:
            return word
    quantization = precision if precision in ("int8", "nf4") else "none"
    possible = getattr(capabilities, kind) and quantization in capabilities.quantizations
    return "declared" if possible else "undeclared"
