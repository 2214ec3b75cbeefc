"""The Accelerator of a training: device, processes, trackers."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import ProjectConfiguration

from llmrec_peft.errors import InputError


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
    asked = int(os.environ.get("WORLD_SIZE", "1"))
    apart = (
        f"{asked} processes were started, but each would train alone:"
        f" start them with python -m torch.distributed.run --nproc_per_node {asked} -m llmrec_peft.cli.main train"
    )
    if asked > 1 and "MASTER_ADDR" not in os.environ:
        raise InputError(apart)
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),  # without it Accelerate starts no process group on processors
        log_with=list(trackers) or None,
        project_config=ProjectConfiguration(project_dir=str(folder), logging_dir=str(folder / "logs")),
        # buffers are the same in all processes, and sparse ones cannot be broadcast
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)],
    )
    if accelerator.num_processes != asked:
        raise InputError(apart)
    return accelerator
