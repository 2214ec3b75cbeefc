"""Coroutines: several jobs that run in turns, each until it waits for something that is done for many at once."""

from __future__ import annotations

import ctypes
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar("T")


@dataclass
class RandomState:
    """States of torch's, numpy's and Python's own random generators."""

    torch_cpu: Tensor
    torch_cuda: list[Tensor]
    numpy: Any
    python: Any

    @classmethod
    def now(cls) -> RandomState:
        """Return the present states."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return cls(torch.get_rng_state(), cuda, np.random.get_state(), random.getstate())

    def restore(self) -> None:
        """Make these the present states."""
        torch.set_rng_state(self.torch_cpu)
        if self.torch_cuda:
            torch.cuda.set_rng_state_all(self.torch_cuda)
        np.random.set_state(self.numpy)
        random.setstate(self.python)


@dataclass
class Coroutine(Generic[T]):
    """One job.

    Attributes:
        job: What it does.
        number: Its place among the jobs.
        random: Its random states while it waits.
        request: What it waits for; None while it does not.
        answer: What its request was answered with.
        result: What the job returned.
        error: What it raised instead.
        done: Whether it is over.
        thread: Where it runs, once it has begun.
        turn: Set when it may go on.
    """

    job: Callable[[], T]
    number: int
    random: RandomState
    request: Any = None
    answer: Any = None
    result: T | None = None
    error: BaseException | None = None
    done: bool = False
    thread: threading.Thread | None = None
    turn: threading.Event = field(default_factory=threading.Event)


class Coroutines(Generic[T]):
    """Runs jobs in turns: exactly one of them, or whoever serves their requests, runs at a time.

    A job is ordinary code in a thread of its own. At `wait` it gives its turn away and is answered later. Random
    states are its own: they are put aside and restored at each change of turns, so that a job draws what it would draw
    alone.
    """

    def __init__(self) -> None:
        self._back = threading.Event()
        self._here = threading.local()
        self._stopped = False

    def run(
        self,
        jobs: Sequence[Callable[[], T]],
        together: int,
        serve: Callable[[Sequence[Coroutine[T]]], None],
        ended: Callable[[int, T], None] | None = None,
    ) -> list[T]:
        """Run all jobs and return their results in order.

        Args:
            jobs: The jobs.
            together: Jobs at a time, at most; the next one begins when one ends.
            serve: Answers the requests of at least one of the jobs, all of which wait: it sets `Coroutine.answer`,
                and `Coroutine.request` to None.
            ended: Receives the number and the result of a job that ended.

        Raises:
            BaseException: What a job raises; the other jobs are interrupted first.
        """
        ours = RandomState.now()
        waiting = [Coroutine(job, number, replace(ours)) for number, job in enumerate(jobs)]
        coming, running, results = list(reversed(waiting)), list[Coroutine[T]](), dict[int, T]()
        try:
            while coming or running:
                while coming and len(running) < together:
                    running.append(coming.pop())
                ready = [one for one in running if one.request is None]
                if not ready:
                    serve(running)
                    ready = [one for one in running if one.request is None]
                    if not ready:
                        raise RuntimeError("no request of any job was answered")
                for one in ready:
                    self._go(one)
                    if one.error is not None:
                        raise one.error
                    if one.done:
                        running.remove(one)
                        results[one.number] = one.result  # type: ignore[assignment]
                        if ended is not None:
                            ended(one.number, results[one.number])
        except BaseException:
            self._stop(running)
            raise
        finally:
            ours.restore()
        return [results[number] for number in range(len(waiting))]

    def wait(self, request: Any) -> Any:
        """Give the turn away until a request is answered; called inside a job."""
        here: Coroutine[T] = self._here.coroutine
        here.request, here.random = request, RandomState.now()
        self._back.set()
        here.turn.wait()
        here.turn.clear()
        if self._stopped:
            raise KeyboardInterrupt
        here.random.restore()
        answer, here.answer = here.answer, None
        return answer

    def _go(self, one: Coroutine[T]) -> None:
        """Let a job run until it waits or ends."""
        self._back.clear()
        if one.thread is None:
            one.thread = threading.Thread(target=self._body, args=(one,), name=f"job {one.number}", daemon=True)
            one.thread.start()
        else:
            one.turn.set()
        try:
            self._back.wait()
        except KeyboardInterrupt:
            _interrupt(one.thread)
            self._back.wait()
            raise

    def _body(self, one: Coroutine[T]) -> None:
        self._here.coroutine = one
        try:
            one.random.restore()
            one.result = one.job()
        except BaseException as error:  # noqa: BLE001 - whoever runs the jobs raises it
            one.error = error
        finally:
            one.done = True
            self._back.set()

    def _stop(self, running: Sequence[Coroutine[T]]) -> None:
        """Interrupt the jobs that wait, one after the other, so that each puts its own things in order."""
        self._stopped = True
        for one in running:
            if one.thread is not None and not one.done:
                self._back.clear()
                one.turn.set()
                self._back.wait()
        for one in running:
            if one.thread is not None:
                one.thread.join(timeout=60.0)


def _interrupt(thread: threading.Thread) -> None:
    """Raise KeyboardInterrupt in a thread, which only the main one gets from the system."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(KeyboardInterrupt))


@contextmanager
def drawing_as(state: RandomState) -> Iterator[None]:
    """Draw from a job's random states inside the block, and note how far they went."""
    ours = RandomState.now()
    state.restore()
    try:
        yield
    finally:
        drawn = RandomState.now()
        state.torch_cpu, state.torch_cuda = drawn.torch_cpu, drawn.torch_cuda
        state.numpy, state.python = drawn.numpy, drawn.python
        ours.restore()
