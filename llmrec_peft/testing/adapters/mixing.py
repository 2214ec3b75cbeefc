"""Check of mixing: rows of many adapters in one pass have the vectors that each has alone.

Rows of the method's trained adapter, of a second one of the method with other values (and other layers and sizes, where
its options have them), of a LoRA, and rows without an adapter stand in one pass in random order, with texts of unlike
lengths. Each is compared twice with the single-run path, a model with its adapter inside: in the same batch, where all
rows pass through that one adapter, and alone, without padding. Then every row is given its neighbour's adapter: each
row of the method has to change.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from llmrec_peft import registry
from llmrec_peft.backbone import preflight
from llmrec_peft.backbone.chunks import rounds
from llmrec_peft.backbone.encoder import Reading
from llmrec_peft.errors import InputError
from llmrec_peft.options import validated
from llmrec_peft.serving.mixing.passes import mixed_states
from llmrec_peft.serving.mixing.saved import grouped_because, mixed_form, read_slots
from llmrec_peft.serving.mixing.slots import Seat, Slots
from llmrec_peft.testing.adapters.bench import SEED, Bench, trainable
from llmrec_peft.testing.adapters.checks import EXACT, Proof
from llmrec_peft.testing.outcome import Outcome
from llmrec_peft.testing.results import GROUPED

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmrec_peft.backbone.adapter import AdapterMethod
    from llmrec_peft.options import Options

APART = 1e-4
"""Largest 1 - cosine of a row's two vectors where states are rounded; where single runs in two shapes are further from
each other, a mixed pass may be as far from either."""
ROWS = 16
"""Texts of the pass; each adapter has two at least."""
SHORTEST = 3
CLEARLY, LEAST = 4.0, 1e-3
"""A row changed by a wrong slot where it moved by so many times its rounding, and by so much of its norm at least."""
BUDGET = 256 << 20
_NOISE = 0.1
_READING = Reading("mean", False)
_DOUBLED = ("rank", "num_virtual_tokens", "size", "block_size", "alpha", "scale")
"""Options of which the second adapter has twice the value, where the method and the model allow it."""


@dataclass
class _Adapter:
    """One adapter of the pass; the bare base without a method."""

    method: AdapterMethod[Any] | None
    folder: Path
    seat: Seat | None

    def inside(self, bench: Bench) -> nn.Module:
        """Return the model with this adapter inside, as a single run has it."""
        bench.backbone.detach()
        if self.method is None:
            return bench.backbone.model
        return self.method.load(bench.backbone, self.folder).eval()


def mixing(proof: Proof) -> Outcome:
    """Check that rows of the method share a pass with rows of other adapters, or say why they are grouped."""
    bench = proof.bench
    bench.backbone.detach()
    why = grouped_because(bench.method(), bench.backbone)
    if why is not None:
        return Outcome(True, note=f"{GROUPED}{why}")
    with tempfile.TemporaryDirectory(prefix="llmrec-testing-") as work:
        slots = Slots(BUDGET, bench.backbone.device)
        return _compared(bench, _adapters(proof, Path(work), slots), slots)


def _adapters(proof: Proof, work: Path, slots: Slots) -> list[_Adapter]:
    """Return the method's two adapters, a LoRA, and the bare base, in slots where they have any."""
    bench = proof.bench
    made = [(bench.method(), proof.folder)]
    if bench.trains:
        made.append(_noisy(bench, _unlike(bench), work / "other", SEED + 2))
    lora = registry.get("adapters", "lora") if "lora" in registry.plugins("adapters") else bench.method_class
    if lora is not bench.method_class:
        config = validated(lora.Config, {}, "adapter")
        if _possible(bench, "lora", config):
            made.append(_noisy(bench, lora(config), work / "lora", SEED + 3))
    found = []
    for method, folder in made:
        form = mixed_form(method, bench.backbone)
        if form is None:  # the registered lora is a stranger's
            continue
        held = read_slots(method, form, folder, bench.backbone, type(method).__name__)
        found.append(_Adapter(method, folder, slots.add(form, held)))
    return [*found, _Adapter(None, work, None)]


def _unlike(bench: Bench) -> AdapterMethod[Any]:
    """Return the method with other layers and other sizes, each where the options and the model allow it."""
    config = bench.config
    changes: list[dict[str, Any]] = []
    fields = type(config).model_fields
    if "layers" in fields:
        changes.append({"layers": "all"})
    doubled = (name for name in _DOUBLED if name in fields and isinstance(getattr(config, name), (int, float)))
    changes += [{name: 2 * getattr(config, name)} for name in doubled]
    for change in changes:
        try:
            changed = validated(type(config), {**config.model_dump(), **change}, "adapter")
            method = bench.method_class(changed)
            method.parameter_count(bench.backbone.shapes)  # refuses sizes that do not fit a layer
        except InputError:
            continue
        facts = preflight.known_facts(bench.section.name, bench.section.revision) or bench.backbone.facts
        if method.refusal(facts, bench.section.quantization) is None:
            config = changed
    return bench.method_class(config)


def _possible(bench: Bench, name: str, config: Options) -> bool:
    facts = preflight.known_facts(bench.section.name, bench.section.revision) or bench.backbone.facts
    return preflight.refusal(name, config, facts, bench.section.quantization) is None


def _noisy(bench: Bench, method: AdapterMethod[Any], folder: Path, seed: int) -> tuple[AdapterMethod[Any], Path]:
    """Save an adapter that no training made: fresh modules, each parameter moved by noise."""
    bench.backbone.detach()
    torch.manual_seed(seed)
    model = method.attach(bench.backbone)
    with torch.no_grad():
        for parameter in trainable(model).values():
            parameter.add_(_NOISE * torch.randn(parameter.shape).to(parameter))
    folder.mkdir(parents=True)
    method.save(model, bench.backbone, folder)
    bench.backbone.detach()
    return method, folder


@torch.no_grad()
def _compared(bench: Bench, adapters: Sequence[_Adapter], slots: Slots) -> Outcome:
    random = np.random.default_rng(SEED)
    texts = [text[: int(random.integers(SHORTEST, len(text) + 1))] for text in bench.tokens.distinct_rows()]
    own = np.resize(np.arange(len(adapters)), max(ROWS, 2 * len(adapters)))
    random.shuffle(own)
    rows = [texts[at % len(texts)] for at in range(len(own))]
    ids, mask = _padded(bench, rows)
    seats = [adapters[at].seat for at in own.tolist()]
    bench.backbone.detach()
    mixed = _mixed(bench, slots, ids, mask, seats)
    others = [adapters[(at + 1) % len(adapters)].seat for at in own.tolist()]
    mistaken = _mixed(bench, slots, ids, mask, others)
    equal, alone = torch.empty_like(mixed), torch.empty_like(mixed)
    for at, adapter in enumerate(adapters):
        model = adapter.inside(bench)
        places = np.flatnonzero(own == at).tolist()
        equal[places] = _single(model, ids, mask)[places]
        for place in places:
            alone[place] = _single(model, *_padded(bench, [rows[place]]))[0]
    bench.backbone.detach()
    mine = [at for at, which in enumerate(own.tolist()) if isinstance(adapters[which].method, bench.method_class)]
    return _outcome(bench, _Vectors(mixed, equal, alone, mistaken), mine)


def _mixed(bench: Bench, slots: Slots, ids: Tensor, mask: Tensor, seats: Sequence[Seat | None]) -> Tensor:
    """Return vectors of a mixed pass; in half precision of one for each number of tokens before the texts, as served.

    Each of these has as many rows as the whole, filled with its first one.
    """
    fronts = slots.fronts(seats) if rounds(bench.backbone.model) else [None] * len(seats)
    vectors: dict[int, Tensor] = {}
    for front in dict.fromkeys(fronts):
        own = [at for at, found in enumerate(fronts) if found == front]
        filled = own + own[:1] * (len(seats) - len(own))
        states = mixed_states(bench.backbone, slots, ids[filled], mask[filled], [seats[at] for at in filled])
        vectors |= dict(zip(own, _READING.vectors(states, mask[filled]), strict=False))
    return torch.stack([vectors[at] for at in range(len(seats))])


@dataclass(frozen=True)
class _Vectors:
    """Vectors of the rows, float32 [rows, width]: mixed, the single run's in the same shape and alone, and mistaken."""

    mixed: Tensor
    equal: Tensor
    alone: Tensor
    mistaken: Tensor


def _outcome(bench: Bench, found: _Vectors, mine: Sequence[int]) -> Outcome:
    """Judge the vectors; `mine` are the rows of the method."""
    for name, vectors in vars(found).items():
        if not bool(vectors.isfinite().all()):
            return Outcome(False, note=f"vectors are not finite ({name})")
    off = _distance(found.mistaken, found.mixed)[list(mine)]
    error = torch.maximum(_distance(found.mixed, found.equal), _distance(found.mixed, found.alone))
    if not bool((off > torch.clamp(CLEARLY * error[list(mine)], min=LEAST)).all()):
        return Outcome(False, float(off.min()), LEAST, "a row with its neighbour's adapter keeps its vector")
    told = f"{len(mine)} of {len(found.mixed)} rows; a wrong slot changes each by {float(off.min()):.2g} or more"
    if bench.exact:
        same, apart = (float(_distance(found.mixed, one).max()) for one in (found.equal, found.alone))
        note = f"equal shapes {same:.2g}, unequal {apart:.2g}; {told}"
        return Outcome(max(same, apart) <= EXACT, max(same, apart), EXACT, note)
    cosine = torch.nn.functional.cosine_similarity
    same, apart, single = (
        1.0 - float(cosine(one, other).min())
        for one, other in ((found.mixed, found.equal), (found.mixed, found.alone), (found.equal, found.alone))
    )
    allowed = max(APART, single)
    note = f"1 - cosine: equal shapes {same:.2g}, unequal {apart:.2g}, single runs in both {single:.2g}; {told}"
    return Outcome(max(same, apart) <= allowed, max(same, apart), allowed, note)


def _distance(vectors: Tensor, others: Tensor) -> Tensor:
    """Return the distance of each row's two vectors as a share of the second's norm, [rows]."""
    distance: Tensor = (vectors - others).norm(dim=1) / others.norm(dim=1)
    return distance


def _single(model: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    return _READING.vectors(model(input_ids=ids, attention_mask=mask).last_hidden_state, mask)


def _padded(bench: Bench, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[bench.backbone.pad_id] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids, mask
