"""Checks: the rules for every adapter method, one function per rule.

Each function takes a `Proof` (a bench with an adapter trained on it) and returns an `Outcome`, or None if the
rule does not apply to what the method declares. States are compared by the relative distance
‖actual − expected‖ / ‖expected‖ over all tokens (`drift`). If the model computes in fp32 on unquantized weights, only
the order of sums may round (`EXACT`); bf16 rounds every state to 8 bits of mantissa (`ROUNDED`); on quantized
weights such a rounding may also move an activation to the next of int8's 256 levels (`QUANTIZED`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from llmrec_peft.backbone.trunk import transformer_layers
from llmrec_peft.testing.adapters.bench import FALLEN, SEED, Bench, Training, drift, snapshot, trainable
from llmrec_peft.testing.outcome import Outcome

if TYPE_CHECKING:
    from torch import Tensor

EXACT = 1e-5
ROUNDED = 2e-2
QUANTIZED = 5e-2
HALF = 3
"""Steps before and after the interruption in the check of resuming."""
MERGED_EXACT = 1e-4
MERGED_COSINE = {"none": 0.999, "int8": 0.99, "nf4": 0.95}
"""Mean cosine of merged and unmerged states if the merged weights are rounded: to 8 bits of mantissa in bf16, to 256 or
16 levels in int8 and nf4, whose grid for W + ΔW differs from that for W. Four bits cost LoRA 0.003 on MiniLM and
0.04 on SmolLM2; so `llmrec merge` dequantizes a run's base first."""


@dataclass
class Proof:
    """A bench and the results of training on it.

    Attributes:
        bench: The bench; the trained modules are detached from its model.
        run: The training.
        rate: Its learning rate.
        share: Its lowest loss as a share of the first.
        states: States of the trained model.
        folder: Folder of the saved adapter.
        fresh_states: States of the model with fresh modules.
    """

    bench: Bench
    run: Training
    rate: float
    share: float
    states: Tensor
    folder: Path
    fresh_states: Tensor


def prove(bench: Bench, folder: Path) -> Proof:
    """Attach, train and save once; all checks use the results."""
    _, model = bench.attach()
    fresh = bench.states(model)
    run, rate, share = bench.learn()
    states = bench.states(run.model)
    folder.mkdir(parents=True)
    run.method.save(run.model, bench.backbone, folder)
    bench.backbone.detach()
    return Proof(bench, run, rate, share, states, folder, fresh)


def tolerance(bench: Bench) -> float:
    """Return the largest allowed drift of states that should be equal."""
    if bench.exact:
        return EXACT
    return ROUNDED if bench.section.quantization == "none" else QUANTIZED


def starts_as_declared(proof: Proof) -> Outcome:
    """Check that a fresh adapter changes no state if it declares `starts_as_identity`, and changes some otherwise."""
    bench = proof.bench
    drifted = drift(proof.fresh_states, bench.bare_states)
    if bench.method_class.capabilities.starts_as_identity:
        return Outcome(drifted <= tolerance(bench), drifted, tolerance(bench))
    return Outcome(drifted > EXACT, drifted, note="declared not to start as identity")


def loss_falls(proof: Proof) -> Outcome:
    """Check that the adapter alone, with a fixed task, brings the loss to 0.7 of its start within 40 steps."""
    if not proof.bench.trains:
        return Outcome(not trainable(proof.run.model), note="declares that it trains nothing")
    return Outcome(proof.share <= FALLEN, proof.share, FALLEN, f"rate {proof.rate:g}, {len(proof.run.losses)} steps")


def trains_what_it_declares(proof: Proof) -> Outcome:
    """Check that each trainable parameter gets a nonzero gradient in some step, and none of the base's gets any."""
    run = proof.run
    idle = sorted(set(trainable(run.model)) - run.moved)
    if run.stray:
        return Outcome(False, note=f"the base's own {min(run.stray)} asks for a gradient")
    if idle:
        return Outcome(False, len(idle), 0, f"no gradient ever reached {idle[0]}")
    return Outcome(True, len(run.moved))


def parameter_formula_holds(proof: Proof) -> Outcome:
    """Check that `parameter_count` of the model's shapes is the number of trainable parameters."""
    bench = proof.bench
    trained = sum(parameter.numel() for parameter in trainable(bench.attach()[1]).values())
    bench.backbone.detach()
    said = bench.method().parameter_count(bench.backbone.shapes)
    return Outcome(said == trained, said, trained, "" if said == trained else f"says {said:,}, trains {trained:,}")


def base_is_unchanged(proof: Proof) -> Outcome:
    """Check that after training and `detach` the base has the same bytes and states as before."""
    bench = proof.bench
    if bench.base_digest() != bench.digest:
        return Outcome(False, note="the base's weights have other bytes than before")
    drifted = drift(bench.states(bench.backbone.model), bench.bare_states)
    return Outcome(drifted == 0.0, drifted, 0.0)


def lowest_layer_is_true(proof: Proof) -> Outcome:
    """Check that, for any parameter values, states entering the lowest layer stay and states leaving it change.

    The parameters are changed by noise and not by training, so that states stored below the adapter cannot hide
    a difference.
    """
    bench = proof.bench
    if bench.lowest is None:
        return Outcome(proof.states.equal(bench.bare_states), note="declares that it changes nothing")
    layers = len(transformer_layers(bench.backbone.model))
    if not 0 <= bench.lowest < layers:
        return Outcome(False, bench.lowest, layers - 1, "there is no such layer")
    above = bench.lowest + 1
    bare_in, _ = bench.states_around(bench.backbone.model, bench.lowest)
    bare_out = bench.states_around(bench.backbone.model, above)[0] if above < layers else bench.bare_states
    _, model = bench.attach()
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for parameter in trainable(model).values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator).to(parameter.dtype))
    entering, end = bench.states_around(model, bench.lowest)
    leaving = bench.states_around(model, above)[0] if above < layers else end
    bench.backbone.detach()
    if bench.lowest > 0 and not entering.equal(bare_in):  # below layer 0 are the embeddings, which it does not cover
        return Outcome(False, drift(entering, bare_in), 0.0, f"states entering layer {bench.lowest} change")
    moved = drift(leaving, bare_out)
    note = "" if moved > 0.0 else f"nothing changes in layer {bench.lowest}; the lowest is higher"
    return Outcome(moved > 0.0, moved, note=note)


def is_deterministic(proof: Proof) -> Outcome:
    """Check that two trainings from one seed end with the same parameters, bit for bit."""
    bench = proof.bench
    if not bench.trains:
        return Outcome(True)
    one, other = (_straight(bench, proof.rate) for _ in range(2))
    differ = [name for name in one if not one[name].equal(other[name])]
    bench.backbone.detach()
    return Outcome(not differ, len(differ), 0, f"{differ[0]} differs" if differ else "")


def resume_is_exact(proof: Proof) -> Outcome:
    """Check that an interrupted training, rebuilt and resumed, ends bit for bit like an uninterrupted one."""
    bench = proof.bench
    if not bench.trains:
        return Outcome(True)
    whole = _straight(bench, proof.rate)
    method, model = bench.attach()
    kept = snapshot(bench.train(method, model, proof.rate, HALF, total=2 * HALF))
    method, model = bench.attach()
    with torch.no_grad():
        for name, parameter in trainable(model).items():
            parameter.copy_(kept["parameters"][name])
    method.load_state(model, kept["method"])
    torch.set_rng_state(kept["random"])
    bench.train(method, model, proof.rate, HALF, 2 * HALF, HALF, kept["optimizer"])
    found = {name: parameter.detach() for name, parameter in trainable(model).items()}
    bench.backbone.detach()
    differ = [name for name in whole if name not in found or not whole[name].equal(found[name])]
    return Outcome(not differ, len(differ), 0, f"{differ[0]} differs" if differ else "")


def recomputes_activations(proof: Proof) -> Outcome | None:
    """Check that gradients with gradient checkpointing, if declared, equal those of a normal pass."""
    bench = proof.bench
    supported = getattr(bench.backbone.model, "supports_gradient_checkpointing", False)
    if not bench.trains or not supported or not bench.method_class.capabilities.gradient_checkpointing:
        return None
    kept, again = _gradients(bench, False), _gradients(bench, True)
    if not kept.count_nonzero():
        return Outcome(False, note="no gradient to compare")
    drifted = drift(again, kept)
    return Outcome(drifted <= tolerance(bench), drifted, tolerance(bench))


def merges_as_declared(proof: Proof) -> Outcome:
    """Check that merging into the base gives the unmerged states, and that a method that cannot merge refuses to.

    fp32: drift at most 1e-4. If the merged weights are rounded: mean cosine at least `MERGED_COSINE`. Afterwards the
    bench's model is no longer the base.
    """
    bench = proof.bench
    if not bench.method_class.capabilities.merges(bench.backbone.identity.quantization):
        with bench.loaded(proof.folder) as (method, model):
            try:
                method.merge(model, bench.backbone)
            except Exception as error:  # noqa: BLE001 - it may refuse by any error
                return Outcome(True, note=f"not mergeable: {type(error).__name__}")
        return Outcome(False, note="declared not mergeable, but merges without a word")
    bench.backbone.detach()
    method = bench.method()
    merged = bench.states(method.merge(method.load(bench.backbone, proof.folder), bench.backbone))
    drifted = drift(merged, proof.states)
    if bench.exact:
        return Outcome(drifted <= MERGED_EXACT, drifted, MERGED_EXACT)
    cosine = float(torch.nn.functional.cosine_similarity(merged, proof.states, dim=-1).mean())
    least = MERGED_COSINE[bench.section.quantization]
    return Outcome(cosine >= least, cosine, least, f"mean cosine at least; drift {drifted:.3g}")


def _straight(bench: Bench, rate: float) -> dict[str, Tensor]:
    method, model = bench.attach()
    bench.train(method, model, rate, 2 * HALF)
    return {name: parameter.detach().clone() for name, parameter in trainable(model).items()}


def _gradients(bench: Bench, recompute: bool) -> Tensor:
    """Return all gradients of the second step, joined: in the first, half of them may be zero by design."""
    bench.backbone.detach()
    if recompute:
        bench.backbone.model.gradient_checkpointing_enable()  # type: ignore[operator]
    torch.manual_seed(SEED)
    method = bench.method()
    model = method.attach(bench.backbone)
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for parameter in trainable(model).values():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator).to(parameter.dtype))
    texts = bench.encoded(model, bench.lowest)
    texts.encoder.train()
    bench.task.loss(texts(bench.keys)).backward()  # type: ignore[no-untyped-call]
    flat = [p.grad.float().reshape(-1) for p in trainable(model).values() if p.grad is not None]
    bench.backbone.detach()
    return torch.cat(flat) if flat else torch.zeros(1)


BEHAVIOUR: dict[str, Callable[[Proof], Outcome | None]] = {
    check.__name__: check
    for check in (
        starts_as_declared,
        loss_falls,
        trains_what_it_declares,
        base_is_unchanged,
        parameter_formula_holds,
        lowest_layer_is_true,
        is_deterministic,
        resume_is_exact,
        recomputes_activations,
    )
}
"""Checks of a method's behaviour; `merges_as_declared` comes after those of its files, since it changes the base."""
