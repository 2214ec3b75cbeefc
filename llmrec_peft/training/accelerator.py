"""The Accelerator of a training: device, processes, trackers; how it ends."""

from __future__ import annotations

import atexit
import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import ProjectConfiguration

from llmrec_peft.errors import InputError
from llmrec_peft.printable import shown

if TYPE_CHECKING:
    from accelerate.optimizer import AcceleratedOptimizer
    from torch import Tensor

MPI_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Variables in which MPI's launchers say how many processes they have started."""


def make_accelerator(trackers: tuple[str, ...], folder: Path) -> Accelerator:
    """Make an Accelerator whose trackers write below a folder.

    Args:
        trackers: Names of trackers.
        folder: Folder of the training.

    Raises:
        InputError: For a tracker that is not installed, or processes that would not train together.
    """
    for tracker in trackers:
        if importlib.util.find_spec(tracker) is None:
            raise InputError(f"training.trackers: {tracker} is not installed: pip install 'llmrec-peft[tracking]'")
    asked = processes_asked_for()
    atexit.unregister(_leave)
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),  # without it Accelerate starts no process group on processors
        mixed_precision="no",  # precision is the recipe's, whatever a launcher puts into the environment
        log_with=list(trackers) or None,
        project_config=ProjectConfiguration(project_dir=str(folder), logging_dir=str(folder / "logs")),
    )
    if accelerator.num_processes != asked:
        raise _apart(f"{asked} processes were started", asked)
    return accelerator


SMALL_BYTES = 64 << 20
"""Memory of weights, gradients and moments up to which the end of a fit leaves them to a later collection."""
_NUMBERS_A_WEIGHT = 4


def let_go(accelerator: Accelerator, optimizer: AcceleratedOptimizer, trained: Sequence[Tensor]) -> None:
    """Forget the optimizer of a fit that is over, and collect what it held, if that is much.

    `Accelerator.free_memory` also looks for cycles among all objects of the process, which takes longer than an epoch
    of a small fit; where many tenants are trained, it would look through the objects of all after each fit of each.

    Args:
        accelerator: Prepared the optimizer.
        optimizer: The optimizer.
        trained: Weights that were trained.
    """
    weights = sum(one.numel() * one.element_size() for one in trained)
    if weights * _NUMBERS_A_WEIGHT > SMALL_BYTES:
        accelerator.free_memory()
    else:
        accelerator._optimizers.remove(optimizer)


def end_training(accelerator: Accelerator, publish: Callable[[], None]) -> None:
    """Close the trackers and let the first process publish the run.

    Every process returns once the run is published, so that each can load it. They stay connected until they exit, so
    that they can train again.

    Args:
        accelerator: Device and processes.
        publish: Moves the run into its place; the trackers' files are whole by then.
    """
    try:
        for tracker in accelerator.trackers:
            tracker.finish()
        if accelerator.is_main_process:
            publish()
        accelerator.wait_for_everyone()
    except BaseException:
        _leave()  # wakes the processes that wait
        raise
    atexit.register(_leave)


def _leave() -> None:
    """End the process group, if there is one."""
    PartialState().destroy_process_group()


def processes_asked_for() -> int:
    """Return how many processes a launcher has started, as the environment says.

    Raises:
        InputError: Where it started several that cannot find each other, or fewer than it was asked for.
    """
    stated = os.environ.get("WORLD_SIZE")
    if stated is None:
        for name in MPI_SIZES:
            if int(os.environ.get(name, "1")) > 1:
                raise _apart(f"{os.environ[name]} processes were started", os.environ[name])
        if "ACCELERATE_USE_CPU" in os.environ and "MASTER_ADDR" in os.environ:
            raise _apart("`accelerate launch --cpu` was asked for several processes and has started one", "N", "it")
        return 1
    if not stated.isdigit() or int(stated) < 1:
        raise InputError(f"WORLD_SIZE: {shown(stated)} is no number of processes")
    if int(stated) > 1 and ("MASTER_ADDR" not in os.environ or "RANK" not in os.environ):
        raise _apart(f"{stated} processes were started", stated)
    return int(stated)


def _apart(what: str, count: int | str, each: str = "each") -> InputError:
    return InputError(
        f"{what}, but {each} would train alone:"
        f" start them with python -m torch.distributed.run --nproc_per_node {count} -m llmrec_peft.cli.main train"
    )
