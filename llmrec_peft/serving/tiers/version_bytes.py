"""Bytes of versions: what a loaded run takes in memory of its own, and what it has mapped from its sealed files."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from llmrec_peft.artifact.mapped_files import is_mapped
from llmrec_peft.run.language_model import LanguageModel, TenantAdapter
from llmrec_peft.run.tenant import LoadedTenant

_SAMPLE = 256
"""Values of a long sequence of tables that are looked into; the others are taken to be like them."""
_TENSOR = 512
"""Bytes that a tensor takes beside its numbers."""
_NOT_OURS = (bool, int, float, type, LanguageModel, TenantAdapter)
"""Numbers are counted with what holds them, the base is shared, and an adapter's bytes are those of its slot."""
_OURS = ("llmrec_", "torch.nn.")


class Bytes(NamedTuple):
    """Bytes of versions.

    Attributes:
        private: In memory of the process's own.
        mapped: In files that are mapped.
    """

    private: int
    mapped: int


def bytes_of(tenants: Iterable[LoadedTenant]) -> Bytes:
    """Count the bytes of one version in several of its states, what they share once.

    Tensors, arrays and texts are counted as they are; of a long sequence of tables some are, for all of them.

    Args:
        tenants: The run in its states.
    """
    return _Count().of(tenants)


def made_since(tenant: LoadedTenant) -> tuple[object, ...]:
    """Return what tells whether a run has made tables since it was loaded, such as an index of its items.

    When it changes, `bytes_of` has to be asked again.
    """
    parts = (tenant, tenant.catalogue, tenant.vocabulary)
    return (len(tenant.catalogue.ids), *(len(vars(part)) for part in parts))


class _Count:
    """One count: adds up objects that it meets for the first time."""

    def __init__(self) -> None:
        self._met: set[int] = set()
        self._addresses: set[int] = set()
        self._private = self._mapped = 0

    def of(self, things: Iterable[object]) -> Bytes:
        """Add up things and what they refer to."""
        waiting: list[object] = list(things)
        while waiting:
            one = waiting.pop()
            if one is None or isinstance(one, _NOT_OURS) or id(one) in self._met:
                continue
            self._met.add(id(one))
            waiting.extend(self._add(one))
        return Bytes(self._private, self._mapped)

    def _add(self, one: Any) -> Iterable[object]:
        """Count an object by itself and return those that it refers to."""
        if isinstance(one, Tensor):
            self._private += _TENSOR
            storage = one.untyped_storage()
            self._memory(storage.data_ptr(), storage.nbytes())
            return ()
        if isinstance(one, np.ndarray):
            while isinstance(one.base, np.ndarray):
                one = one.base
            self._memory(one.ctypes.data, one.nbytes)
            return ()
        self._private += sys.getsizeof(one, 0)
        if isinstance(one, dict):
            return self._some(one.values(), len(one))
        if isinstance(one, list | tuple | set | frozenset):
            return self._some(one, len(one))
        if type(one).__module__.startswith(_OURS):
            held = getattr(one, "__dict__", {})
            self._private += sys.getsizeof(held, 0)
            return held.values()
        return ()

    def _some(self, values: Iterable[Any], count: int) -> Iterable[object]:
        """Return values that are to be looked into; a long sequence is counted from its texts, or from some values."""
        if count <= _SAMPLE:
            return list(values)
        few = list(islice(values, _SAMPLE))
        if all(isinstance(one, str) for one in few):
            self._private += sum(map(sys.getsizeof, values))
        elif not all(isinstance(one, int | float) for one in few):
            before = self._private
            self.of(few)
            self._private = before + (self._private - before) * count // _SAMPLE
        return ()

    def _memory(self, address: int, nbytes: int) -> None:
        """Count a piece of memory, once however many tensors share it."""
        if address in self._addresses:
            return
        self._addresses.add(address)
        if is_mapped(address):
            self._mapped += nbytes
        else:
            self._private += nbytes
