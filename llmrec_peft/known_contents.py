"""Known contents: what was checked once in this process, by the digest of its bytes, need not be checked again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

MOST = 4096
"""Digests that are remembered, the latest."""
_known: OrderedDict[Hashable, None] = OrderedDict()
_lock = threading.Lock()
_now: ContextVar[bool] = ContextVar("known_contents", default=False)


@contextmanager
def checking(key: Hashable) -> Iterator[None]:
    """Check contents inside the block; if it ends without an error, blocks of the same key may leave checks out.

    Args:
        key: Digest of all bytes on which the checks depend. Whoever reads them compares the digest every time.
    """
    with _lock:
        known = key in _known
    token = _now.set(known)
    try:
        yield
    finally:
        _now.reset(token)
    with _lock:
        _known[key] = None
        _known.move_to_end(key)
        while len(_known) > MOST:
            _known.popitem(last=False)


def is_known() -> bool:
    """Return whether the contents that are read now were checked before; False outside of `checking`."""
    return _now.get()


def forget() -> None:
    """Forget all digests, so that the next reading checks everything, as the first one of a process does."""
    with _lock:
        _known.clear()
