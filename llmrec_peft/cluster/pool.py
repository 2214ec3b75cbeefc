"""Pool: who works on the parts of a job: this process, or workers that Ray starts on one machine or on many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmrec_peft.cluster.worker import Report, Worker
from llmrec_peft.errors import InputError


@dataclass(frozen=True)
class Pool:
    """Who works.

    Attributes:
        ray: Whether Ray starts the workers; without it this process is the only one.
        workers: Number of workers; by default one for each GPU asked for that Ray knows, or two.
        gpus: GPUs of each worker; a part of one lets several workers share it.
        allow_code: Whether Python code that comes with a base model may run, see `llmrec_peft.backbone.remote_code`.
    """

    ray: bool = False
    workers: int | None = None
    gpus: float = 0.0
    allow_code: bool = False

    def __post_init__(self) -> None:
        if not self.ray and (self.workers is not None or self.gpus):
            raise InputError("workers and their GPUs are Ray's: add --ray")
        if self.workers is not None and self.workers < 1:
            raise InputError(f"workers must be at least 1, not {self.workers}")
        if not 0.0 <= self.gpus < 1024.0:  # noqa: PLR2004 - nan is refused, too
            raise InputError(f"GPUs of a worker are a number from 0, not {self.gpus}")

    def each(
        self, worker: type[Worker], arguments: Mapping[str, Any], parts: Sequence[str]
    ) -> Iterator[tuple[str, Report]]:
        """Work on parts, and yield each with its report as it is done, in any order.

        Args:
            worker: Class of the workers, which every machine can import.
            arguments: Plain values of which one is made.
            parts: Names of the parts.

        Raises:
            InputError: Of a worker; or if Ray is asked for and cannot be had.
        """
        if not parts:
            return
        if self.ray:
            from llmrec_peft.cluster.on_ray import each

            yield from each(worker, arguments, parts, self.workers, self.gpus, self.allow_code)
            return
        from llmrec_peft.backbone.remote_code import allowing

        with allowing(self.allow_code):
            one = worker(**arguments)
            for part in parts:
                yield part, one.work(part)
