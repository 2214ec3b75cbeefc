"""Workers by Ray Data: a pool of actors, each of which makes its worker once and works on one part at a time."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmrec_peft.backbone.remote_code import allowing
from llmrec_peft.errors import InputError, reason_of

if TYPE_CHECKING:
    from llmrec_peft.cluster.worker import Report, Worker

WORKERS = 2
"""Workers where nothing says how many."""
STORE_BYTES = 128 << 20
"""Bytes of Ray's object store on this machine: names of parts and reports pass through it, never texts or vectors."""
ADDRESS = "RAY_ADDRESS"
"""Variable by which Ray finds a cluster; without it Ray is started on this machine, for this job alone."""
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


def each(
    worker: type[Worker],
    arguments: Mapping[str, Any],
    parts: Sequence[str],
    workers: int | None = None,
    gpus: float = 0.0,
    allow_code: bool = False,
) -> Iterator[tuple[str, Report]]:
    """Work on parts by Ray, and yield each with its report as it is done, in any order.

    Args:
        worker: Class of the workers.
        arguments: Plain values of which one is made.
        parts: Names of the parts.
        workers: Number of workers, see `llmrec_peft.cluster.pool.Pool`.
        gpus: GPUs of each.
        allow_code: Whether Python code that comes with a base model may run.

    Raises:
        InputError: Of a worker; if Ray is not installed, does not start, or has not the GPUs that are asked for.
    """
    ray = _installed()
    with running(ray, workers):
        count = min(_workers(ray, workers, gpus), len(parts))
        threads = max(1, int((_known(ray, "CPU") - 1) // count))
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        done = ray.data.from_items([{"part": part} for part in parts], override_num_blocks=len(parts)).map_batches(
            Actor,
            batch_size=1,
            fn_constructor_args=(worker, dict(arguments), threads, allow_code),
            compute=ray.data.ActorPoolStrategy(size=count, max_tasks_in_flight_per_actor=1),
            num_cpus=threads,
            num_gpus=gpus or None,
        )
        for batch in done.iter_batches(batch_size=1, prefetch_batches=0):
            answer = json.loads(str(batch["answer"][0]))
            if "error" in answer:
                raise InputError(answer["error"])
            yield str(batch["part"][0]), answer["report"]


class Actor:
    """One worker in a process of Ray's."""

    def __init__(self, worker: type[Worker], arguments: Mapping[str, Any], threads: int, allow_code: bool) -> None:
        """Store what to make; nothing is loaded yet, so that what is wrong comes back as an answer."""
        self._make, self._threads, self._allow_code = (worker, arguments), threads, allow_code
        self._worker: Worker | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Work on the part that a batch names, and return its report, or what was wrong, as JSON."""
        import torch

        part = str(batch["part"][0])
        torch.set_num_threads(self._threads)
        try:
            with allowing(self._allow_code):
                if self._worker is None:
                    kind, arguments = self._make
                    self._worker = kind(**arguments)
                answer: dict[str, Any] = {"report": dict(self._worker.work(part))}
        except InputError as error:
            answer = {"error": str(error)}
        return {"part": [part], "answer": [json.dumps(answer)]}


def _installed() -> Any:
    """Import Ray with its Data library.

    Raises:
        InputError: If it is not there.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InputError(
            f"--ray: Ray Data cannot be imported ({reason_of(error)}): pip install 'llmrec-peft[ray]'"
        ) from None
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return ray


@contextlib.contextmanager
def running(ray: Any, workers: int | None = None) -> Iterator[None]:
    """Use the Ray that runs already, join a cluster, or start one on this machine for the time of the block."""
    if ray.is_initialized():
        yield
        return
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    with contextlib.ExitStack() as stack:
        if os.environ.get(ADDRESS):
            started = {"address": os.environ[ADDRESS], **quiet}
        else:
            place = tempfile.mkdtemp(prefix="llmrec-ray-")
            stack.callback(shutil.rmtree, place, ignore_errors=True)
            started = {
                "address": "local",
                "num_cpus": max(os.cpu_count() or 1, workers or WORKERS)
                + 1,  # one beside the workers', for Ray Data itself
                "object_store_memory": STORE_BYTES,
                "include_dashboard": False,
                "_temp_dir": place,
                **quiet,
            }
        try:
            with _silent():
                ray.init(**started)
        except (RuntimeError, ValueError, OSError, ConnectionError) as error:
            raise InputError(f"--ray: Ray does not start ({reason_of(error)})") from None
        stack.callback(ray.shutdown)
        yield


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep what Ray's own libraries print on stderr off the terminal: what is wrong comes as an exception."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # a process without stderr
            before, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
            stack.callback(os.close, before)
            stack.callback(os.close, nothing)
            stack.callback(os.dup2, before, 2)
            os.dup2(nothing, 2)
        yield


def _workers(ray: Any, workers: int | None, gpus: float) -> int:
    """Return how many workers there can be.

    Raises:
        InputError: If Ray has not the GPUs for the workers that are asked for.
    """
    if not gpus:
        return workers or WORKERS
    room = int(_known(ray, "GPU") / gpus)
    if room < (workers or 1):
        raise InputError(
            f"--ray: {workers or 1} workers with {gpus:g} GPUs each were asked for, and Ray knows"
            f" {_known(ray, 'GPU'):g} GPUs"
        )
    return workers or room


def _known(ray: Any, resource: str) -> float:
    return float(ray.cluster_resources().get(resource, 0.0))
