"""Shared passes: texts of many versions are encoded together, each by its own version's adapter."""

from __future__ import annotations

import atexit
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from llmrec_peft.backbone.chunks import TOKENS_CPU, TOKENS_CUDA, rounds
from llmrec_peft.backbone.positions import token_room
from llmrec_peft.errors import InputError
from llmrec_peft.serving.copying_encoder import CopyingEncoder
from llmrec_peft.serving.encoding import AdapterMemory
from llmrec_peft.serving.host_copies import HostCopies
from llmrec_peft.serving.mixing.mixed_encoder import ROWS, Admitted, AskedText
from llmrec_peft.serving.mixing.slabs import EXTENT
from llmrec_peft.serving.mixing.slots import Slots
from llmrec_peft.serving.seats import Seats
from llmrec_peft.serving.text_calls import Line, Lines, TextCall

if TYPE_CHECKING:
    import torch

    from llmrec_peft.run.language_model import LanguageModel
    from llmrec_peft.serving.versions import Version

ADAPTER_BYTES = 256 << 20
"""Bytes for adapters in slots by default."""
HOST_COPIES = 4
"""Bytes of host memory for adapters by default, for each byte of slots on a CUDA device. On a CPU slots lie in host
memory themselves, and the files of others in the system's page cache."""
WAIT = 0.002
"""Seconds that a text waits for others to share its pass: short beside a pass (64 texts of 32 tokens through MiniLM in
bf16 take 0.025 s on two cores)."""
QUANTUM = 128
"""Tokens that are taken from one version before another one's turn."""
ROUNDING = 2e-4
"""How far scores of four digits may be apart if a text was in another pass."""
PASSES, PASSES_ROUNDED = 2, 4
"""Passes of a turn, in fp32 and in half precision, where each length has passes of its own, filled if need be: a text
waits for the turn under way, and then for its own."""
_CLOSED = "the engine is closed: it encodes no texts any more"


class SharedPasses:
    """Encodes texts of many versions in shared passes, for callers in any threads.

    One thread drives the model. It takes texts that wait, of each version as many tokens as of the others, puts them
    into passes of similar length, and hands each caller the vectors of its own. A version's adapter gets a slot with
    its first text. An error that one version or one text causes reaches its own caller alone.
    """

    rounding: float = ROUNDING

    def __init__(
        self,
        adapter_bytes: int = ADAPTER_BYTES,
        wait: float = WAIT,
        tokens: int | None = None,
        adapter_host_bytes: int | None = None,
    ) -> None:
        """Begin without versions; the thread starts with the first text.

        Args:
            adapter_bytes: Bytes for adapters in slots.
            wait: Seconds that a text waits for others to share its pass.
            tokens: Tokens that are taken at once; by default those of a few passes.
            adapter_host_bytes: Bytes of host memory, page-locked beside a CUDA device, for copies of adapters, which
                come back into a slot from there and not from their files; by default `HOST_COPIES` times
                `adapter_bytes` on a CUDA device, and none on a CPU.

        Raises:
            InputError: If the bytes are below the smallest memory.
        """
        if adapter_host_bytes is not None and adapter_host_bytes < 0:
            raise InputError(f"adapter_host_bytes is 0 or a number above it, not {adapter_host_bytes:,}")
        if adapter_bytes < 2 * EXTENT:
            raise InputError(f"adapter_bytes: {adapter_bytes:,} is below the smallest, {2 * EXTENT:,}")
        self._bytes = adapter_bytes
        self._work = _Work(adapter_bytes, wait, tokens, adapter_host_bytes)
        weakref.finalize(self, self._work.stop)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def items(self, version: Version, texts: Sequence[str]) -> tuple[Tensor, int]:
        """Return vectors of texts, float32 [n, width], and how many texts were too long and cut.

        Raises:
            InputError: If the adapter does not fit the base, a text cannot be read, a vector is not finite, or the
                engine is closed.
        """
        if not texts:
            raise ValueError("there are no texts to encode")
        call = TextCall(version, texts)
        thread = self._started()
        if not self._work.put(call):
            raise InputError(self._work.ended)
        try:
            while not call.done.wait(1.0):
                if not (thread.is_alive() or call.done.is_set()):
                    raise InputError("the thread that encodes texts has ended")  # in a forked process, for one
        finally:
            call.given_up = True
        return call.result()

    def drop(self, version: Version) -> None:
        """Free what a version takes; waits for nobody."""
        self._work.drop(version)

    def notes(self, version: Version) -> tuple[str, ...]:
        """Return what is to be said of how a version's texts are encoded, a line each."""
        seats = self._work.seats
        because = None if seats is None else seats.because(version)
        return () if because is None else (f"texts of new items are encoded in passes of their own: {because}",)

    def adapter_memory(self) -> AdapterMemory:
        """Return the bytes for adapters; slots are allocated with the first text."""
        mixed = self._work.mixed
        if mixed is None:
            return AdapterMemory(self._bytes)
        return AdapterMemory(self._bytes, mixed.slots.slabs.used, mixed.copies.budget, mixed.copies.used)

    def close(self) -> None:
        """End the thread when it has done its pass; calls that wait, and later ones, get an error."""
        self._work.stop()
        with self._starting:
            if self._thread is not None and self._thread is not threading.current_thread():
                self._thread.join()

    def _started(self) -> threading.Thread:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=_run, args=(self._work,), name="llmrec-passes", daemon=True)
                self._thread.start()
            return self._thread


_running: dict[threading.Thread, _Work] = {}
"""Threads that encode, with what they do."""


def _run(work: _Work) -> None:
    _running[threading.current_thread()] = work
    try:
        work.run()
    finally:
        _running.pop(threading.current_thread(), None)


@atexit.register
def _end_all() -> None:
    """End all threads before the process ends, which aborts if one of them is in torch then."""
    for thread, work in list(_running.items()):
        work.stop()
        thread.join()


@dataclass(frozen=True)
class _Taken:
    """A text that is encoded now."""

    call: TextCall
    number: int
    asked: AskedText


@dataclass
class _Turn:
    """Texts that are encoded together."""

    texts: list[_Taken] = field(default_factory=list)
    adapters: dict[Version, Admitted] = field(default_factory=dict)
    tokens: int = 0


class _Work:
    """What the thread does; it does not hold whoever started it, so that a forgotten engine ends it."""

    def __init__(self, adapter_bytes: int, wait: float, tokens: int | None, host_bytes: int | None) -> None:
        self.lines = Lines()
        self.seats: Seats | None = None
        self._bytes, self._wait, self._tokens, self._host_bytes = adapter_bytes, wait, tokens, host_bytes
        self.mixed: CopyingEncoder | None = None
        self._language: LanguageModel | None = None
        self._budget = 0
        self._room: int | None = None
        self._dropped: deque[Version] = deque()
        self._under_way: list[_Taken] = []
        self.stopped = False
        self.ended = _CLOSED
        """Why no text is encoded any more, once `stopped` is set."""

    def run(self) -> None:
        """Encode what waits until `stop`."""
        try:
            while self._waited():
                while self.seats is not None and self._dropped:
                    self.seats.drop(self._dropped.popleft())
                self._under_way = self._turn().texts
                self._encode(self._under_way)
                self._under_way = []
        except BaseException as found:
            self.ended = f"the thread that encodes texts has ended: {type(found).__name__}: {found}"
            raise
        finally:
            self.stop()
            self.lines.end(self.ended)
            for one in self._under_way:
                one.call.fail(InputError(self.ended))
            self.mixed = self.seats = None  # the memory for adapters is free

    def put(self, call: TextCall) -> bool:
        """Let a call wait; False if nothing is encoded any more."""
        with self.lines.changed:
            if not self.stopped:
                self.lines.put(call)
            return not self.stopped

    def stop(self) -> None:
        """Let the thread end."""
        with self.lines.changed:
            self.stopped = True
            self.lines.changed.notify_all()

    def drop(self, version: Version) -> None:
        """Let the thread free what a version takes."""
        with self.lines.changed:
            if self.seats is not None and not self.stopped:
                self._dropped.append(version)
                self.lines.changed.notify_all()

    def _waited(self) -> bool:
        """Wait for something to do, and for a moment for more of it; False to end."""
        with self.lines.changed:
            while not (self.stopped or self.lines or self._dropped):
                self.lines.changed.wait()
            while self.lines and not self.stopped and (left := self.lines.seconds_left(ROWS, self._wait)) > 0:
                self.lines.changed.wait(left)
            return not self.stopped

    def _turn(self) -> _Turn:
        """Take texts, from the version of which the fewest tokens were taken first."""
        turn, later = _Turn(), list[Line]()
        while (not turn.texts or turn.tokens < self._budget) and (line := self.lines.first()) is not None:
            adapter = turn.adapters.get(line.version) or self._admitted(line, turn)
            if adapter is None:
                later.append(line)
                continue
            turn.adapters[line.version] = adapter
            taken = self._take(line, adapter, turn)
            turn.tokens += taken
            line.served += taken
            self.lines.back(line)
        for line in later:
            self.lines.back(line)
        return turn

    def _admitted(self, line: Line, turn: _Turn) -> Admitted | None:
        """Return the adapter of a line; None if it cannot be admitted, for now or, with an error, at all."""
        try:
            if line.version.tenant.adapter.dropped:
                raise InputError(f"run {line.version.digest[:12]}: its adapter is no longer in memory")
            return self._open(line.version.tenant.base).admit(line.version, turn.adapters, self.lines.waiting)
        except Exception as error:  # noqa: BLE001 - it is the callers'
            while line.calls:
                line.calls.popleft().fail(error)
            return None

    def _open(self, language: LanguageModel) -> Seats:
        """Return the seats on a base, which is the same for all versions."""
        if self.seats is None or self._language is not language:
            if self._language is not None:
                raise InputError("its base is another one than that of the versions before it")
            with language.bare() as backbone:
                self.mixed = self._mixed(language, backbone.device)
                of_pass = TOKENS_CPU if backbone.device.type == "cpu" else TOKENS_CUDA
                passes = PASSES_ROUNDED if rounds(backbone.model) else PASSES
                self._budget = passes * of_pass if self._tokens is None else self._tokens
                self._room = token_room(backbone.model)
            self._language, self.seats = language, Seats(self.mixed)
        return self.seats

    def _mixed(self, language: LanguageModel, device: torch.device) -> CopyingEncoder:
        """Return what encodes, with its memory."""
        host = HOST_COPIES * self._bytes * (device.type == "cuda") if self._host_bytes is None else self._host_bytes
        return CopyingEncoder(language, Slots(self._bytes, device), HostCopies(host, device))

    def _take(self, line: Line, adapter: Admitted, turn: _Turn) -> int:
        """Take some texts of a line, and return their tokens."""
        assert self._language is not None  # noqa: S101 - an adapter was admitted
        tokens = 0
        while line.calls and tokens < QUANTUM:
            call = line.calls[0]
            try:
                with self._language.held():
                    found = None if call.given_up else call.next_text(adapter.reader)
                if found is not None:
                    adapter.require_room(len(found[1]), self._room)
            except Exception as error:  # noqa: BLE001 - it is the caller's
                call.fail(error)
                found = None
            if found is None:
                line.calls.popleft()
                continue
            turn.texts.append(_Taken(call, found[0], AskedText(adapter, found[1])))
            tokens += len(found[1])
        return tokens

    def _encode(self, texts: Sequence[_Taken]) -> None:
        """Encode texts and answer their calls; after an error each call's by themselves, so that it reaches its own."""
        texts = [one for one in texts if not one.call.given_up]
        if not texts or self.mixed is None:
            return
        try:
            vectors = self.mixed.encode([one.asked for one in texts])
        except Exception as error:  # noqa: BLE001 - it is a caller's
            calls = dict.fromkeys(one.call for one in texts)
            if len(calls) == 1:
                texts[0].call.fail(error)
                return
            for call in calls:
                self._encode([one for one in texts if one.call is call])
            return
        for one, vector in zip(texts, vectors, strict=True):
            one.call.answer(one.number, vector)
