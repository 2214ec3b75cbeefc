"""Calls for texts: what one caller waits for, and the lines in which callers of several versions take turns."""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from llmrec_peft.errors import InputError
from llmrec_peft.run.tuned_model import finite_vectors

if TYPE_CHECKING:
    from llmrec_peft.backbone.text_reader import TextReader
    from llmrec_peft.serving.versions import Version

SLICE = 256
"""Distinct texts of a call that are tokenized at once and taken by length, so that those of one pass are alike; more of
them would hold back other calls."""


class TextCall:
    """Texts of one version that one caller waits for; each distinct text is encoded once.

    The thread that encodes reads and answers it; the caller waits for `done` and takes the result.

    Attributes:
        version: By whose adapter they are encoded.
        done: Whether all vectors, or an error, are there.
        given_up: Whether nobody waits for the rest any more.
    """

    def __init__(self, version: Version, texts: Sequence[str]) -> None:
        """Set the texts, at least one."""
        distinct: dict[str, int] = {}
        self.version = version
        self.done = threading.Event()
        self.given_up = False
        self._row_of = [distinct.setdefault(text, len(distinct)) for text in texts]
        self._texts = list(distinct)
        self._times = Counter(self._row_of)
        self._vectors: list[Tensor | None] = [None] * len(distinct)
        self._missing = len(distinct)
        self._tokenized = 0
        self._ready: deque[tuple[int, list[int]]] = deque()
        self._cut = 0
        self._error: Exception | None = None

    @property
    def left(self) -> int:
        """Distinct texts that no pass has taken yet."""
        return len(self._texts) - self._tokenized + len(self._ready)

    def next_text(self, reader: TextReader) -> tuple[int, list[int]] | None:
        """Return the number and the token ids of the next text; None if all were taken.

        Args:
            reader: How the version's recipe reads texts.

        Raises:
            InputError: If a text cannot be tokenized for the model.
        """
        if not self._ready and self._tokenized < len(self._texts):
            self._tokenize(reader)
        return self._ready.popleft() if self._ready else None

    def answer(self, number: int, vector: Tensor) -> None:
        """Take the vector of a text."""
        self._vectors[number] = vector
        self._missing -= 1
        if not self._missing:
            self.done.set()

    def fail(self, error: Exception) -> None:
        """End with an error, which the caller gets unless all vectors are there."""
        self._error = self._error or (error if self._missing else None)
        self.given_up = True
        self.done.set()

    def result(self) -> tuple[Tensor, int]:
        """Return vectors of the texts, float32 [n, width], and how many texts were too long and cut.

        Raises:
            InputError: If a vector is not finite; and the error with which the call ended.
        """
        if self._error is not None:
            raise self._error
        vectors = finite_vectors(torch.stack([vector for vector in self._vectors if vector is not None]))
        return vectors[torch.tensor(self._row_of, device=vectors.device)], self._cut

    def _tokenize(self, reader: TextReader) -> None:
        start = self._tokenized
        numbers = range(start, min(start + SLICE, len(self._texts)))
        texts = [self._texts[number] for number in numbers for _ in range(self._times[number])]
        length = self.version.tenant.recipe.views.item.max_length
        tokens = reader.tokenized(texts, length)
        self._cut += reader.count_cut(texts, tokens, length)
        self._ready.extend(sorted(zip(numbers, tokens.distinct_rows(), strict=True), key=lambda one: len(one[1])))
        self._tokenized = numbers.stop


@dataclass(eq=False)
class Line:
    """Calls of one version, in the order in which they came.

    Attributes:
        version: The version.
        served: Tokens that were taken, counted from those of the line that was served last when this one began.
        calls: The calls.
    """

    version: Version
    served: int
    calls: deque[TextCall] = field(default_factory=deque)


class Lines:
    """Lines of several versions: the next is the one of which the fewest tokens were taken.

    A line that begins now begins where the line stands that was served last. So a version with one text waits for no
    more than what was taken already, however many texts another version has.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without calls.

        Args:
            clock: Seconds, for deadlines.
        """
        self.changed = threading.Condition()
        """Is notified of each call; whoever waits for several things notifies it of the others, too."""
        self._clock = clock
        self._lines: dict[Version, Line] = {}
        self._order: list[tuple[int, int, Line]] = []
        self._count = 0
        self._served = 0
        self._since = 0.0

    def put(self, call: TextCall) -> None:
        """Let a call wait."""
        with self.changed:
            line = self._lines.get(call.version)
            if line is None:
                if not self._lines:
                    self._since = self._clock()
                line = self._lines[call.version] = Line(call.version, self._served)
                self._push(line)
            line.calls.append(call)
            self.changed.notify_all()

    def first(self) -> Line | None:
        """Take the next line out of the order until `back`; further calls of its version join it meanwhile."""
        with self.changed:
            if not self._order:
                return None
            line = heapq.heappop(self._order)[2]
            self._served = max(self._served, line.served)
            return line

    def back(self, line: Line) -> None:
        """Put a line back, behind those of which fewer tokens were taken; it ends if no call is left."""
        with self.changed:
            if line.calls:
                self._push(line)
            else:
                del self._lines[line.version]

    def waiting(self, version: Version) -> bool:
        """Return whether texts of a version wait."""
        return version in self._lines

    def seconds_left(self, enough: int, wait: float) -> float:
        """Return for how long further texts may be waited for; whoever calls holds `changed`.

        Args:
            enough: Texts for which nothing is waited for any more.
            wait: Seconds that the first text may wait.
        """
        if sum(call.left for line in self._lines.values() for call in line.calls) >= enough:
            return 0.0
        return self._since + wait - self._clock()

    def __len__(self) -> int:
        return len(self._lines)

    def end(self, reason: str) -> None:
        """End all calls with an error that says why."""
        with self.changed:
            calls = [call for line in self._lines.values() for call in line.calls]
            self._lines.clear()
            self._order.clear()
        for call in calls:
            call.fail(InputError(reason))

    def _push(self, line: Line) -> None:
        self._count += 1
        heapq.heappush(self._order, (line.served, self._count, line))
