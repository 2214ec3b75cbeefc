"""The training loop: epochs of batches through Accelerate, validation, early stopping, exact checkpoints."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator

from llmrec_peft.data.batches import Batch
from llmrec_peft.errors import NotFiniteError
from llmrec_peft.progress import SILENT, Bar, Progress
from llmrec_peft.training.accelerator import let_go
from llmrec_peft.training.checkpoint import Checkpoint, FitState
from llmrec_peft.training.divergence import Divergence, require_figure
from llmrec_peft.training.early_stopping import EarlyStopping
from llmrec_peft.training.epoch_orders import EpochOrders, Examples
from llmrec_peft.training.fit_result import FitResult
from llmrec_peft.training.lazy_tables import LazyTables, clip, total_norm
from llmrec_peft.training.memory import peak_rss_mb
from llmrec_peft.training.optimizer import Average, build_optimizer, build_schedule
from llmrec_peft.training.together import Together

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.backbone.adapter import AdapterMethod
    from llmrec_peft.data.interactions import Interactions
    from llmrec_peft.data.negatives import CandidateSampler
    from llmrec_peft.model import RecModel
    from llmrec_peft.recipe.sections import TrainingSection


REMEMBERED = "texts as last encoded"
"""Name of the texts' most recent vectors in a checkpoint."""


def fit(
    model: RecModel,
    train: Interactions,
    section: TrainingSection,
    seed: int,
    accelerator: Accelerator,
    checkpoint: Checkpoint,
    title: str,
    method: AdapterMethod[Any] | None = None,
    validate: Callable[[RecModel], float] | None = None,
    epochs: int | None = None,
    progress: Progress = SILENT,
    sampler: CandidateSampler | None = None,
    examples: Examples | None = None,
) -> FitResult:
    """Train a model in place and leave its best weights in it.

    Args:
        model: Model on the accelerator's device, with the values to begin from.
        train: Interactions.
        section: Rates, batches, schedule.
        seed: Seed of the batch order; dropout draws from torch's generator, whose state the checkpoint contains.
        accelerator: Device, processes and trackers.
        checkpoint: Folder of checkpoints; the fit resumes from an existing one.
        title: Title of the progress bar.
        method: Adapter method, for its penalty and its work after a step.
        validate: Validation figure of the model; if None, all epochs are trained and the last weights kept.
        epochs: Epochs to train at most; the schedule keeps the length of `section.epochs`.
        progress: Receives the progress of the fit.
        sampler: Draws candidates for heads that are listwise.
        examples: Chooses the rows of `train` that are the examples of an epoch; by default all are. Histories and
            counts of the model are those of all in any case.
    """
    run = _Run(model, train, section, seed, accelerator, checkpoint, method, validate, epochs, sampler, examples)
    if not accelerator.is_main_process:
        progress = SILENT
    result = run.go(title, progress)
    best = "" if result.best is None else f", best validation {model.head.metric} {result.best:.4f}"
    progress.note(f"{title}: {result.best_epoch} epochs{best} ({result.seconds:.0f} s)")
    return result


class _Run:
    """State of one fit; `go` is the loop."""

    def __init__(
        self,
        model: RecModel,
        train: Interactions,
        section: TrainingSection,
        seed: int,
        accelerator: Accelerator,
        checkpoint: Checkpoint,
        method: AdapterMethod[Any] | None,
        validate: Callable[[RecModel], float] | None,
        epochs: int | None,
        sampler: CandidateSampler | None = None,
        examples: Examples | None = None,
    ) -> None:
        self.seed, self.sampler = seed, sampler
        self.model, self.train, self.section, self.method = model, train, section, method
        self.accelerator, self.checkpoint, self.validate = accelerator, checkpoint, validate
        self.epochs = section.epochs if epochs is None else epochs
        adapter_epochs = section.epochs if section.adapter_epochs is None else section.adapter_epochs
        tuned_epochs = min(section.epochs, adapter_epochs) if model.encoder is not None else 0
        whole_epochs = tuned_epochs if section.adapter_epochs is not None else 0
        self.orders = EpochOrders(train, section, seed, whole_epochs, examples)
        steps = [-(-self.orders.batches(epoch) // section.accumulate) for epoch in range(section.epochs)]
        self.adapter_steps = sum(steps[:tuned_epochs])
        self.together, self.lazy = Together(accelerator), LazyTables(model)
        self.trained = [parameter for _, parameter in model.trained_parameters()]
        self.optimizer = build_optimizer(model, section, method, self.lazy)
        self.schedule = build_schedule(self.optimizer, section, sum(steps))
        self.average = Average(model, section.average, self.lazy) if section.average else None
        lower = model.head.lower_is_better
        self.stopping = EarlyStopping(section.patience if validate else None, lower)
        self.best: dict[str, Tensor] | None = None
        self.state = FitState()
        self.frozen = contextlib.ExitStack()
        self.saved_at = time.monotonic()
        self.divergence = Divergence(model, section)

    def go(self, title: str, progress: Progress) -> FitResult:
        """Train until early stopping or the last epoch."""
        self._resume()
        if not self.state.finished:
            optimizer = self.accelerator.prepare(self.optimizer)
            total = sum(map(self.orders.batches, range(self.epochs)))
            done = sum(map(self.orders.batches, range(self.state.epoch))) + self.state.batch
            with self.frozen, self.lazy.training(), progress.bar(title, total, done) as shown:
                while self.state.epoch < self.epochs and not self.stopping.stop:
                    self._freeze_adapter()
                    self._epoch(optimizer, shown)
                    self._validate(shown)
                self._finish()
            let_go(self.accelerator, optimizer, self.trained)
        best_epoch = self.stopping.best_epoch if self.validate else self.state.epoch
        return FitResult(
            best_epoch=best_epoch,
            best=self.stopping.best,
            history=tuple(self.stopping.history),
            seconds=self.state.seconds,
            peak_rss_mb=self.state.peak_rss_mb,
            epoch_seconds=tuple(self.state.epoch_seconds),
            epoch_tokens=tuple(self.state.epoch_tokens),
        )

    def _epoch(self, optimizer: Any, shown: Bar) -> None:
        """Train on the remaining batches of the current epoch."""
        state, section = self.state, self.section
        self.model.train()
        if self.model.encoded is not None:
            self.model.encoded.draw_variants(self.seed, state.epoch)
        started = time.monotonic()
        batches, order = self.orders.batches(state.epoch), self.orders.of(state.epoch)
        if self.sampler is not None:
            self.sampler.batches_are_of(order.item, order.by_item)
        for rows in order.epoch(state.epoch, skip=state.batch):
            state.batch += 1
            last = state.batch == batches
            step_now = last or state.batch % section.accumulate == 0
            own, share = self.together.part(rows)
            batch = Batch.of(self.train, own, self.accelerator.device, self.model.plan.history_length)
            if self.sampler is not None:
                whole = self.train.item[rows]
                self.sampler.add(batch, state.epoch, state.batch, own_alone=self._own_items_alone(), items=whole)
            loss = self._loss(batch)
            self.accelerator.backward(loss * share / section.accumulate)
            if self.model.encoded is not None:
                self.model.encoded.finish_backward()
                state.tokens += self.model.encoded.taken_tokens()
            value = self.together.add_loss(loss, share)
            self.divergence.see_loss(value, state.epoch + 1, state.batch, first=state.step == 0)
            state.loss += value
            if step_now:
                self._step(optimizer)
            shown.advance(text=f"loss {state.loss / state.batch:.4f}{self._figure()}")
            if step_now and not last and self._save_is_due():
                state.seconds += time.monotonic() - started
                self._save()
                started = time.monotonic()
        state.seconds += time.monotonic() - started

    def _step(self, optimizer: Any) -> None:
        """Take a step with the gradients of all processes, clipped if the recipe says so."""
        state, most = self.state, self.section.clip_norm
        self.together.add_gradients(self.trained)
        gradients = [parameter.grad for parameter in self.trained if parameter.grad is not None]
        gradients += self.lazy.collect(None if self.together.alone else self.together.add_rows)
        norm = total_norm(gradients)
        if norm is not None and most is not None:
            clip(gradients, norm, most)
        self.divergence.keep_norm(norm, state.epoch + 1, state.batch)
        state.step += 1
        self.lazy.step(1.0 if self.average is None else self.average.decay(state.step))
        optimizer.step()
        self.schedule.step()
        tuned = self._tuned()
        if self.method is not None and tuned is not None:
            self.method.after_step(tuned, state.step, self.adapter_steps)
        optimizer.zero_grad()
        if self.average is not None:
            self.average.update(state.step)

    def _own_items_alone(self) -> bool:
        """Return whether a batch's own items are the only candidates: while the adapter is trained, by users or stored.

        An item's stored vector is out of date; against such candidates the adapter would learn to tell fresh vectors,
        which only the right answers have, from stored ones (it did: the hit rate fell from 0.12 to 0.08).
        """
        encoded = self.model.encoded
        alone = self.section.other_texts == "stored" or self.section.batching == "by-user"
        return alone and encoded is not None and not encoded.frozen

    def _loss(self, batch: Batch) -> Tensor:
        loss: Tensor = self.model(batch).loss
        tuned = self._tuned()
        if self.method is not None and tuned is not None:
            penalty = self.method.regularization(tuned)
            loss = loss if penalty is None else loss + penalty
        return loss

    def _tuned(self) -> torch.nn.Module | None:
        """Return the model with the adapter inside, while the adapter is trained."""
        encoded = self.model.encoded
        return None if encoded is None or encoded.frozen else encoded.encoder.model

    def _validate(self, shown: Bar) -> None:
        """Finish the current epoch: validation figure, best weights, trackers, checkpoint."""
        started = time.monotonic()
        state = self.state
        mean_loss = state.loss / max(1, state.batch)
        self.lazy.flush()
        self.together.align(self.lazy.tensors())
        self.divergence.see_weights(state.epoch + 1)
        state.epoch, state.batch, state.loss = state.epoch + 1, 0, 0.0
        logged = {"loss": mean_loss, "epoch": state.epoch}
        if self.validate is not None:
            with self._averaged():
                figure = self._validated(self.validate)
                if self.stopping.update(figure):
                    self.best = {name: t.clone() for name, t in self.model.trained_state().items()}
            logged[f"valid_{self.model.head.metric}"] = figure
        state.history = self.stopping.history
        shown.advance(0, text=f"loss {mean_loss:.4f}{self._figure()}")
        self.accelerator.log(logged, step=state.step)
        state.seconds += time.monotonic() - started
        state.epoch_seconds.append(round(state.seconds, 3))
        state.epoch_tokens.append(state.tokens)
        if self._save_is_due():
            self._save()

    def _validated(self, validate: Callable[[RecModel], float]) -> float:
        """Return the validation figure after an epoch."""
        epoch = self.state.epoch
        try:
            figure = validate(self.model)
        except NotFiniteError as error:
            raise NotFiniteError(f"training diverged: validation after epoch {epoch}: {error}") from None
        require_figure(figure, self.model.head.metric, epoch)
        return self.together.agree(figure)

    def _finish(self) -> None:
        """Load the weights that are kept into the model and mark the fit as finished."""
        if self.best is not None:
            self.model.load_trained_state(self.best)
        elif self.average is not None:
            self.average.swap()
        self.state.finished = True
        self._save(last=True)

    def _freeze_adapter(self) -> None:
        """Freeze the adapter after its epochs: compute its vectors once and look them up."""
        limit = self.section.adapter_epochs
        encoded = self.model.encoded
        if limit is None or self.state.epoch < limit or encoded is None or encoded.frozen:
            return
        if self.average is not None:
            self.average.settle("encoder.")
        self.frozen.enter_context(encoded.freeze())

    @contextlib.contextmanager
    def _averaged(self) -> Any:
        """Put the averaged weights, if there are any, into the model inside the block."""
        if self.average is not None:
            self.average.swap()
        try:
            yield
        finally:
            if self.average is not None:
                self.average.swap()

    def _figure(self) -> str:
        best = self.stopping.best
        last = self.stopping.history[-1] if self.stopping.history else None
        metric = self.model.head.metric
        return "" if last is None else f"  valid {metric} {last:.4f} (best {best:.4f})"

    def _save_is_due(self) -> bool:
        return time.monotonic() - self.saved_at >= self.section.checkpoint_seconds

    def _save(self, last: bool = False) -> None:
        if not last:
            self.divergence.see_weights(self.state.epoch + 1)
        self.state.peak_rss_mb = max(self.state.peak_rss_mb, peak_rss_mb())
        if not self.accelerator.is_main_process:
            return
        if last:
            self.checkpoint.save(self.state, self.model, None, None, None, None)
        else:
            encoded = self.model.encoded
            kept = self.method.state(encoded.encoder.model) if self.method and encoded is not None else {}
            if encoded is not None and encoded.remembered is not None:
                kept = {**kept, REMEMBERED: encoded.remembered}
            running = (self.optimizer, self.schedule, self.average, self.best)
            self.checkpoint.save(self.state, self.model, *running, kept, self.lazy)
        self.saved_at = time.monotonic()

    def _resume(self) -> None:
        """Take up what lies in the folder of checkpoints; the first process puts it in order before others look."""
        if not self.together.first:
            self.together.wait()
        there = self.checkpoint.exists()
        if self.together.first:
            self.together.wait()
        if there:
            self._load()
        self.together.wait()  # nothing is written before all have read

    def _load(self) -> None:
        whole = not self.checkpoint.finished()
        parts = (self.optimizer, self.schedule, self.average, self.lazy) if whole else (None, None, None, None)
        self.state, self.best = self.checkpoint.load(self.model, *parts)
        encoded = self.model.encoded
        if encoded is not None and whole:
            kept = self.checkpoint.method_state()
            if REMEMBERED in kept and encoded.remembered is not None:
                encoded.remembered.copy_(kept.pop(REMEMBERED))
            if self.method is not None:
                self.method.load_state(encoded.encoder.model, kept)
        for figure in self.state.history:
            self.stopping.update(figure)
