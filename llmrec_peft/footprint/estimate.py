"""Estimate: memory of a run by part and phase, from a rehearsal and the sizes of the data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from llmrec_peft.footprint.rehearsal import Rehearsal

CHUNK = 64
"""Rows of a forward pass, as in `TextEncoder`."""
CUDA_CONTEXT = 512 * 2**20
"""What the driver and its libraries take of a card before the first tensor: an assumption, not measured here."""
LIBRARIES = 11 * 2**20
"""What libraries take in a run beyond their imports (tokenizer, batches, buffers of kernels): the one constant that
was calibrated: the median of what was missing in the measured cells, without the cells kept for testing it."""
_FLOAT = 4
_FAULT = 64 * 1024
"""Bytes that Linux maps around a page of a file when it is first read (``fault_around_bytes``)."""


@dataclass(frozen=True)
class Workload:
    """Sizes of the data that a run reads and of the tables that it trains.

    Attributes:
        items: Keys that have a text.
        texts: Distinct texts.
        tokens: Tokens of all distinct texts.
        chunks: Rows and length of each chunk of the largest step, the longest texts last.
        longest: Tokens of the longest text.
        distinct_tokens: Different token ids among the texts.
        examples: Interactions of the largest step.
        tables: Parameters of U, I, R and their biases.
        head: Parameters of projections and head.
        dim: Width of the signals' vectors.
    """

    items: int
    texts: int
    tokens: int
    chunks: tuple[tuple[int, int], ...]
    longest: int
    distinct_tokens: int
    examples: int
    tables: int
    head: int
    dim: int

    @property
    def largest(self) -> tuple[int, int]:
        """Return rows and length of the chunk that takes most."""
        return max(self.chunks, key=lambda chunk: chunk[0] * chunk[1])


@dataclass(frozen=True)
class Plan:
    """Parts of a recipe that decide how much memory is taken beside the model.

    Attributes:
        cuda: Whether the model lies on a card, not in the machine's memory.
        quantized: Whether the weights are quantized on loading.
        stored: Bytes a weight takes in its file.
        in_memory: Bytes a weight takes in memory where it is not quantized.
        average: Whether a moving average of the weights is kept.
        refit: Whether a second model is trained after the first.
        trunk_mb: Memory allowed for states below the adapted layers.
    """

    cuda: bool
    quantized: bool
    stored: int
    in_memory: int
    average: bool
    refit: bool
    trunk_mb: int

    @property
    def mapped(self) -> bool:
        """Return whether weights stay in the mapped file, of which only what was read is resident."""
        return not self.cuda and self.stored == self.in_memory


@dataclass(frozen=True)
class Footprint:
    """Memory of a run.

    Attributes:
        phases: Bytes by part in each phase.
        assumptions: What was assumed, for people.
    """

    phases: dict[str, dict[str, int]]
    assumptions: tuple[str, ...] = field(default=())

    @property
    def peak(self) -> str:
        """Return the phase that takes most."""
        return max(self.phases, key=lambda phase: sum(self.phases[phase].values()))

    @property
    def parts(self) -> dict[str, int]:
        """Return the bytes by part in that phase."""
        return self.phases[self.peak]

    @property
    def total(self) -> int:
        """Return the bytes in that phase."""
        return sum(self.parts.values())

    def plain(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "total": self.total,
            "peak": self.peak,
            "parts": self.parts,
            "phases": {name: {"total": sum(parts.values()), **parts} for name, parts in self.phases.items()},
            "assumptions": list(self.assumptions),
        }


def estimate(rehearsal: Rehearsal, work: Workload, plan: Plan, assumptions: tuple[str, ...] = ()) -> Footprint:
    """Return the memory by part and phase; docs/footprint.md gives the formula.

    Args:
        rehearsal: One chunk of the largest size.
        work: The data.
        plan: The rest of the recipe.
        assumptions: What was assumed of the data.
    """
    vectors = (work.items + 1) * rehearsal.width * _FLOAT
    tuned = rehearsal.trained
    outside = (work.tables + work.head) * _FLOAT
    trained = tuned + outside
    rows, length = work.largest
    encode = int(rehearsal.encode * min(CHUNK, work.texts) * work.longest / (rows * length))
    always = {"base": _resident(rehearsal, work, plan)}
    if not plan.cuda:
        always["libraries"] = LIBRARIES
    if plan.mapped and plan.quantized:
        # tables keep the file mapped, and with it the pages that quantization has read; they can be reclaimed
        always["mapped file"] = rehearsal.weights * plan.stored - rehearsal.tables
    if plan.cuda:
        always["CUDA context"] = CUDA_CONTEXT
    trunk = work.tokens * rehearsal.width * plan.in_memory
    if rehearsal.lowest and trunk <= plan.trunk_mb * 2**20:
        always["stored states"] = trunk
    model = {
        **always,
        "adapter": rehearsal.adapter,
        "U, I, R and head": outside,
        "text vectors": vectors,
        "optimizer": 2 * trained,
        "copies": tuned + trained * (1 + int(plan.average)) + (outside if plan.refit else 0),
    }
    pair = work.examples * (4 * rehearsal.width + 12 * work.dim) * _FLOAT
    phases = {
        "loading": {**always, "files": _files(rehearsal, plan)},
        "encoding": {**always, "text vectors": vectors, "activations": encode},
        # the adapter's own gradients are among what the rehearsal counted as activations
        "step": {**model, "gradients": outside, "activations": _activations(rehearsal, work) + pair},
        "optimizer": {**model, "gradients": trained, "activations": max(tuned, outside)},
        "validation": {**model, "text vectors": 2 * vectors, "activations": encode},
        "checkpoint": {**model, "files": (4 + int(plan.average)) * trained},
    }
    return Footprint(phases, assumptions)


def _activations(rehearsal: Rehearsal, work: Workload) -> int:
    """Return the bytes that forward and backward of a whole step add, the adapter's gradients included.

    All chunks are kept until the backward pass, which takes the last, longest one first.
    """
    if not rehearsal.trained:
        return 0
    rows, length = work.largest
    share = sum(r * n for r, n in work.chunks) / (rows * length)
    rest = (share - 1.0) * rehearsal.kept
    later = min(rest, float(rehearsal.kept)) if rest else 0.0
    first = rest + rehearsal.backward
    others = rest + rehearsal.trained + (rehearsal.backward - rehearsal.kept) if later else 0.0
    return int(max(first, others))


def _resident(rehearsal: Rehearsal, work: Workload, plan: Plan) -> int:
    """Return the bytes of base weights in memory; of a mapped file's tables only the rows that are looked up."""
    base = rehearsal.base
    if plan.mapped and not rehearsal.trains_tables:
        looked_up = min(rehearsal.tables, work.distinct_tokens * _FAULT)
        base += looked_up - rehearsal.tables
    return base


def _files(rehearsal: Rehearsal, plan: Plan) -> int:
    """Return the bytes of the weight files' pages that are resident only while weights are converted."""
    if plan.cuda or plan.mapped:
        return 0
    return rehearsal.weights * plan.stored
