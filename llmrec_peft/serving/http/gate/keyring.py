"""Key ring: the keys that are valid now, and who shows one of them."""

from __future__ import annotations

import hmac
import threading
import time
from dataclasses import dataclass, replace

from llmrec_peft.errors import InputError
from llmrec_peft.serving.http.gate.keys import Scope, StoredKey, digest_of, key_id_of

_NOBODYS = bytes(32)
"""Stands for the digest of a key that is not there: an unknown key is hashed and compared like a known one."""


@dataclass(frozen=True)
class Caller:
    """Who sent a request, as its key says.

    Attributes:
        key_id: Public name of the key.
        tenant: Whose key it is; None for an admin key.
        scopes: What it allows.
    """

    key_id: str
    tenant: str | None
    scopes: frozenset[Scope]

    @property
    def admin(self) -> bool:
        """Whether the key allows everything."""
        return self.tenant is None

    def may(self, tenant: str, scope: Scope) -> bool:
        """Return whether the key allows something for a tenant.

        The tenant is not looked up, so that a name which is not registered gives the same answer in the same time as
        another tenant's.
        """
        return self.admin or (self.tenant == tenant and scope in self.scopes)


@dataclass(frozen=True)
class _Held:
    """A key, and when it ends by a clock that never goes back.

    Attributes:
        key: The key.
        caller: Whoever shows it.
        ends: When it ends, by `time.monotonic`; None for never.
    """

    key: StoredKey
    caller: Caller
    ends: float | None

    @classmethod
    def of(cls, key: StoredKey) -> _Held:
        """Hold a key."""
        ends = None if key.expires is None else time.monotonic() + key.expires - time.time()
        return cls(key, Caller(key.key_id, key.tenant, key.scopes), ends)

    def until(self, when: float) -> _Held:
        """Hold it until an earlier time, in seconds since 1970; its end by the other clock comes no later either."""
        earlier = _Held.of(replace(self.key, expires=when))
        if self.ends is None or earlier.ends is None:
            return earlier
        return replace(earlier, ends=min(self.ends, earlier.ends))

    @property
    def ended(self) -> bool:
        """Whether it has ended by one of both clocks."""
        if self.key.expires is None or self.ends is None:
            return False
        return time.time() >= self.key.expires or time.monotonic() >= self.ends


class KeyRing:
    """The valid keys of a server, for several threads.

    A key ends when the wall clock says so, or when as many seconds have passed as it had when it was put here. What
    comes first counts, and the key is dropped then. So a clock that is set back gives no key a longer life: neither one
    that was found to have ended, nor one that nobody showed meanwhile. A clock that is set forward ends keys early.
    """

    def __init__(self) -> None:
        """Begin without keys."""
        self._keys: dict[str, _Held] = {}
        self._lock = threading.Lock()

    def put(self, key: StoredKey) -> None:
        """Take a key; one that has ended is not kept.

        Raises:
            InputError: If another key has its public name.
        """
        held = _Held.of(key)
        if held.ended:
            return
        with self._lock:
            known = self._keys.setdefault(key.key_id, held)
        if known.key.digest != key.digest:
            raise InputError(f"another key is called {key.key_id}; make a new one")

    def end(self, key_id: str, when: float) -> None:
        """Let a key end at a time, so that the next one can be handed out before; its end never moves away.

        Args:
            key_id: Public name of the key; nothing happens if there is none.
            when: Seconds since 1970; a time that has passed ends the key now.
        """
        with self._lock:
            held = self._keys.get(key_id)
            if held is None or (held.key.expires is not None and held.key.expires <= when):
                return
            ending = held.until(when)
            if ending.ended:
                del self._keys[key_id]
            else:
                self._keys[key_id] = ending

    def find(self, text: str) -> Caller | None:
        """Return who shows a key; None for an unknown, wrong or ended one.

        It takes no lock unless a key has just ended, and keeps nothing of a wrong one.

        Args:
            text: The text of the key, from outside.
        """
        key_id = key_id_of(text)
        if key_id is None:
            return None
        held = self._keys.get(key_id)
        same = hmac.compare_digest(digest_of(text), _NOBODYS if held is None else held.key.digest)
        if held is None or not same or not self._is_valid(held):
            return None
        return held.caller

    def of(self, tenant: str | None) -> list[StoredKey]:
        """Return a tenant's keys, in the order in which they were put here; those of admins for None."""
        with self._lock:
            ones = [held for held in self._keys.values() if held.key.tenant == tenant]
        return [held.key for held in ones if self._is_valid(held)]

    def _is_valid(self, held: _Held) -> bool:
        """Return whether a key has not ended; one that has is dropped for good."""
        if not held.ended:
            return True
        with self._lock:
            if self._keys.get(held.key.key_id) is held:
                del self._keys[held.key.key_id]
        return False
