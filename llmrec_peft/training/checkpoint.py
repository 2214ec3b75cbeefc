"""Checkpoints: everything that an interrupted fit needs to resume exactly, in safetensors and JSON."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import AdamW
    from torch.optim.lr_scheduler import LambdaLR

    from llmrec_peft.model import RecModel
    from llmrec_peft.training.lazy_tables import LazyTables
    from llmrec_peft.training.optimizer import Average


@dataclass
class FitState:
    """Progress of a fit.

    Attributes:
        epoch: Epochs finished.
        batch: Batches of the running epoch that are done.
        step: Optimizer steps taken.
        loss: Summed loss of the running epoch's batches.
        seconds: Fitting time so far, over all interruptions.
        peak_rss_mb: Highest resident memory so far, over all interruptions.
        history: Validation figures so far.
        epoch_seconds: Fitting time when each epoch ended, over all interruptions.
        tokens: Tokens of texts that the adapter was trained on so far.
        epoch_tokens: That number when each epoch ended.
        finished: Whether the fit is over.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss: float = 0.0
    seconds: float = 0.0
    peak_rss_mb: float = 0.0
    history: list[float] = field(default_factory=list)
    epoch_seconds: list[float] = field(default_factory=list)
    tokens: int = 0
    epoch_tokens: list[int] = field(default_factory=list)
    finished: bool = False


class Checkpoint:
    """One fit's checkpoint: a folder that is replaced as a whole, so that a kill leaves the previous one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def exists(self) -> bool:
        """Return whether there is a checkpoint to resume from."""
        self._recover()
        return (self._folder / "progress.json").is_file()

    def finished(self) -> bool:
        """Return whether the saved fit is finished."""
        plain = json.loads((self._folder / "progress.json").read_text(encoding="utf-8"))
        return bool(plain["finished"])

    def save(
        self,
        state: FitState,
        model: RecModel,
        optimizer: AdamW | None,
        schedule: LambdaLR | None,
        average: Average | None,
        best: dict[str, Tensor] | None,
        method_state: dict[str, Tensor] | None = None,
        lazy: LazyTables | None = None,
    ) -> None:
        """Write tensors and state; the previous checkpoint stays until the new one is complete.

        `method_state` is the adapter method's state besides its parameters.
        """
        tensors = {f"model/{name}": tensor for name, tensor in model.trained_state().items()}
        tensors |= {f"best/{name}": tensor for name, tensor in (best or {}).items()}
        if average is not None:
            tensors |= {f"average/{name}": tensor for name, tensor in average.state().items()}
        if optimizer is not None:
            tensors |= _optimizer_tensors(optimizer)
        if lazy is not None:
            tensors |= {f"lazy/{name}": tensor for name, tensor in lazy.state().items()}
        tensors |= {f"method/{name}": tensor for name, tensor in (method_state or {}).items()}
        tensors["random/cpu"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["random/cuda"] = torch.cuda.get_rng_state()
        plain = {**asdict(state), "schedule_step": schedule.last_epoch if schedule is not None else 0}
        partial = self._folder.with_name(self._folder.name + ".new")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file(
            {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}, partial / "state.safetensors"
        )
        (partial / "progress.json").write_text(json.dumps(plain), encoding="utf-8")
        _sync(partial)
        old = self._folder.with_name(self._folder.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        if self._folder.exists():
            self._folder.rename(old)
        partial.rename(self._folder)
        shutil.rmtree(old, ignore_errors=True)

    def load(
        self,
        model: RecModel,
        optimizer: AdamW | None = None,
        schedule: LambdaLR | None = None,
        average: Average | None = None,
        lazy: LazyTables | None = None,
    ) -> tuple[FitState, dict[str, Tensor] | None]:
        """Restore the tensors; return the state of the fit and the best tensors so far."""
        plain: dict[str, Any] = json.loads((self._folder / "progress.json").read_text(encoding="utf-8"))
        tensors = load_file(self._folder / "state.safetensors")
        model.load_trained_state(_part(tensors, "model/"))
        if average is not None:
            average.load(_part(tensors, "average/"))
        if lazy is not None:
            lazy.load(_part(tensors, "lazy/"))
        schedule_step = int(plain.pop("schedule_step"))
        if schedule is not None and optimizer is not None:
            schedule.last_epoch = schedule_step
            rates = [
                base * rate(schedule_step) for base, rate in zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)
            ]
            for group, value in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = value
        if optimizer is not None:
            _load_optimizer(optimizer, tensors)
        torch.set_rng_state(tensors["random/cpu"])
        if "random/cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["random/cuda"])
        best = _part(tensors, "best/")
        return FitState(**plain), best or None

    def method_state(self) -> dict[str, Tensor]:
        """Return the adapter method's state besides its parameters."""
        return _part(load_file(self._folder / "state.safetensors"), "method/")

    def _recover(self) -> None:
        """Finish a replacement that a kill interrupted."""
        old = self._folder.with_name(self._folder.name + ".old")
        if not self._folder.exists() and old.exists():
            old.rename(self._folder)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _optimizer_tensors(optimizer: AdamW) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer/{index}/{name}": torch.as_tensor(value).reshape(-1) if torch.as_tensor(value).ndim == 0 else value
        for index, values in state.items()
        for name, value in values.items()
    }


def _load_optimizer(optimizer: AdamW, tensors: dict[str, Tensor]) -> None:
    whole = optimizer.state_dict()
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in _part(tensors, "optimizer/").items():
        index, name = key.split("/")
        state.setdefault(int(index), {})[name] = value.reshape(()) if name == "step" else value
    whole["state"] = state
    optimizer.load_state_dict(whole)


def _sync(folder: Path) -> None:
    """Flush the files to the disk before they replace the previous ones."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
