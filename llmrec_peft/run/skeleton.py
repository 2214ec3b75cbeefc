"""Skeleton: a run in memory without its numbers, from which it is made again when its files are mapped again.

Reading a run parses headers, builds modules from a recipe and holds files against each other. All of that depends on
the bytes of the files alone. As long as nobody touches them, what it led to can be kept: the objects, packed, with
places in files where their tensors and arrays were. They are packed by `pickle`, whose bytes never leave this process:
none are written to a file, and none are read from one.
"""

from __future__ import annotations

import copyreg
import io
import pickle
import sys
from collections import OrderedDict
from dataclasses import dataclass, replace
from mmap import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llmrec_peft.artifact.manifest import Manifest
from llmrec_peft.artifact.mapped_files import place_of
from llmrec_peft.options import Options
from llmrec_peft.run.language_model import LanguageModel

if TYPE_CHECKING:
    from llmrec_peft.artifact.untouched import Untouched
    from llmrec_peft.run.tenant import LoadedTenant

MOST_BYTES = 1 << 20
"""Bytes of packed objects; a run that has more, such as one with many columns of users, is read anew each time."""
_Id = tuple[Any, ...]
"""What stands for a tensor, an array or a shared object among the packed ones: its kind, its number and where it is."""


class _NoHooks(OrderedDict[int, Any]):
    """The hooks of modules that have none; all modules that are made again share it, so that it takes none either."""

    def __setitem__(self, key: int, value: Any) -> None:
        raise TypeError("a run that is served takes no hooks: load it by Recommender.from_pretrained")

    def __reduce__(self) -> str:
        return "NO_HOOKS"


NO_HOOKS = _NoHooks()
"""Eleven empty dictionaries a module are a quarter of a run's private bytes."""
_HOOKS = frozenset(name for name, value in vars(nn.Module()).items() if type(value) is OrderedDict)


@dataclass(frozen=True, eq=False)
class Skeleton:
    """A run that was read from mapped files on the CPU.

    Attributes:
        files: The files, as they were.
        names: Those in which tensors and arrays lie.
        packed: Its objects.
        shared: Objects that are not packed: its recipe, what stands in it, and the base.
    """

    files: Untouched
    names: tuple[str, ...]
    packed: bytes
    shared: tuple[object, ...]

    @classmethod
    def of(cls, tenant: LoadedTenant, files: Untouched) -> Self | None:
        """Take the numbers out of a run that has just been read, and that has answered nothing yet.

        Args:
            tenant: The run.
            files: Its folder, as it was before and after reading.

        Returns:
            None for a run that cannot be packed: one with objects that Python cannot pickle, or with too many.
        """
        written = io.BytesIO()
        packer = _Packer(written, files.folder, tenant.catalogue.table_index)
        try:
            packer.dump(replace(tenant, canary=None))  # it was compared when the run was read
        except Exception:  # noqa: BLE001 - a stranger's signal may hold anything
            return None
        if written.tell() > MOST_BYTES:
            return None
        return cls(files, tuple(packer.names), written.getvalue(), tuple(packer.shared))

    def tenant(self) -> LoadedTenant | None:
        """Make the run again; None if a file was touched since."""
        contents = self.files.mapped(self.names)
        if contents is None:
            return None
        places = [contents[name] for name in self.names]
        made: LoadedTenant = _Unpacker(io.BytesIO(self.packed), places, self.shared).load()
        return made

    @property
    def nbytes(self) -> int:
        """Bytes that it takes, without the recipe and the base, which others share."""
        stamps = sum(map(_size_of, (self.files.own, *self.files.files.values())))
        return stamps + sum(map(sys.getsizeof, (self.packed, self.names, self.shared, self.files.files)))


def _size_of(stamp: tuple[int, ...]) -> int:
    return sys.getsizeof(stamp) + sum(map(sys.getsizeof, stamp))


class _Packer(pickle.Pickler):
    """Packs objects; what lies in mapped files stays there.

    Attributes:
        names: Files in which something lies.
        shared: Objects that are not packed.
    """

    def __init__(self, file: io.BytesIO, folder: Path, rows: NDArray[np.int64]) -> None:
        """Begin.

        Args:
            file: Where to write.
            folder: Where all mapped files have to lie.
            rows: The numbers from 1 of the run's items, which are counted again in place of being packed.
        """
        super().__init__(file, protocol=5)
        self.names: list[str] = []
        self.shared: list[object] = []
        self._folder, self._rows = folder, rows
        self._met: dict[int, _Id] = {}
        self._kept: list[object] = []

    def persistent_id(self, one: object) -> _Id | None:
        """Return what stands for an object; None if it is packed as it is."""
        known = self._met.get(id(one))
        if known is not None:
            return known
        number = len(self._met)
        found: _Id | None = None
        if isinstance(one, Tensor):
            found = self._tensor(one)
        elif type(one) is np.ndarray:
            found = ("rows", len(one)) if one is self._rows else self._array(one)
        elif isinstance(one, mmap):
            found = self._file(one)
        elif isinstance(one, Options | LanguageModel) and not isinstance(one, Manifest):
            found = ("shared", len(self.shared))
            self.shared.append(one)
        if found is None:
            return None
        self._kept.append(one)  # so that no other object gets its id
        self._met[id(one)] = ("again", number)
        return (*found, number)

    def reducer_override(self, one: Any) -> Any:
        """Return how a module is packed whose hooks are the shared ones where it has none."""
        if not isinstance(one, nn.Module) or _packs_itself(type(one)):
            return NotImplemented
        known: dict[str, Any] = one.__getstate__()  # type: ignore[no-untyped-call]
        state = {name: NO_HOOKS if name in _HOOKS and not value else value for name, value in known.items()}
        return copyreg.__newobj__, (type(one),), state  # type: ignore[attr-defined]

    def _tensor(self, one: Tensor) -> _Id:
        plain = type(one) in (Tensor, nn.Parameter) and not vars(one) and one.layout is torch.strided
        if not plain or one.device.type != "cpu":
            raise pickle.PicklingError(f"no plain tensor: {type(one)}")
        trained = one.requires_grad if isinstance(one, nn.Parameter) else None
        storage = one.untyped_storage()
        place = self._place(storage.data_ptr()) if one.numel() else None
        if place is None:
            content = one.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            return ("own tensor", content, one.dtype, tuple(one.shape), trained)
        count = storage.nbytes() // one.element_size()
        whole = one.is_contiguous() and one.numel() == count
        view = (tuple(one.shape),) if whole else (tuple(one.shape), one.stride(), one.storage_offset())
        return ("tensor", (*place, count, one.dtype), view, trained)

    def _array(self, one: NDArray[Any]) -> _Id | None:
        base = one
        while isinstance(base.base, np.ndarray):
            base = base.base
        begin = base.ctypes.data
        place = self._place(begin) if one.size else None
        if place is None:
            return None
        return ("array", (*place, base.nbytes), (one.shape, one.dtype, one.ctypes.data - begin, one.strides))

    def _file(self, one: mmap) -> _Id:
        place = self._place(np.frombuffer(one, np.uint8).ctypes.data)
        if place is None:
            raise pickle.PicklingError("mapped from elsewhere")
        return ("file", place[0])

    def _place(self, address: int) -> tuple[int, int] | None:
        """Return the number of the file that is mapped at an address, and the place in it."""
        found = place_of(address)
        if found is None:
            return None
        path, at = found
        if path.parent != self._folder:
            raise pickle.PicklingError(f"numbers of another run: {path}")
        if path.name not in self.names:
            self.names.append(path.name)
        return self.names.index(path.name), at


class _Unpacker(pickle.Unpickler):
    """Makes packed objects again, over files that were mapped again."""

    def __init__(self, file: io.BytesIO, contents: list[mmap], shared: tuple[object, ...]) -> None:
        """Begin.

        Args:
            file: The packed objects.
            contents: Files by their numbers.
            shared: Objects that were not packed.
        """
        super().__init__(file)
        self._contents, self._shared = contents, shared
        self._made: dict[int, Any] = {}
        self._bases: dict[_Id, Any] = {}

    def persistent_load(self, known: _Id) -> Any:
        """Return the object that something stands for."""
        kind, *told, number = known
        if kind == "again":
            return self._made[number]
        if kind == "shared":
            made = self._shared[told[0]]
        elif kind == "file":
            made = self._contents[told[0]]
        elif kind == "rows":
            made = np.arange(1, told[0] + 1, dtype=np.int64)
        elif kind == "array":
            made = self._array(*told)
        else:
            made = self._tensor(*told) if kind == "tensor" else _own(*told)
            if told[-1] is not None:
                made = nn.Parameter(made, told[-1])
        self._made[number] = made
        return made

    def _tensor(self, place: tuple[int, int, int, torch.dtype], view: _Id, _: bool | None) -> Tensor:
        base = self._bases.get(place)
        if base is None:
            file, begin, count, dtype = place
            base = torch.frombuffer(self._contents[file], dtype=dtype, count=count, offset=begin)
            self._bases[place] = base
        return base.view(*view) if len(view) == 1 else base.as_strided(*view)

    def _array(self, place: tuple[int, int, int], view: _Id) -> NDArray[Any]:
        base = self._bases.get(place)
        if base is None:
            file, begin, nbytes = place
            self._bases[place] = base = np.frombuffer(self._contents[file], np.uint8, nbytes, begin)
        shape, dtype, offset, strides = view
        return np.ndarray(shape, dtype, base, offset, strides)


def _packs_itself(kind: type[nn.Module]) -> bool:
    """Return whether a class of modules says by itself how its objects are packed."""
    names = ("__reduce__", "__reduce_ex__", "__getstate__", "__getnewargs_ex__", "__getnewargs__")
    return any(getattr(kind, name, None) is not getattr(nn.Module, name, None) for name in names)


def _own(content: bytes, dtype: torch.dtype, shape: tuple[int, ...], _: bool | None) -> Tensor:
    """Return a tensor that lay in no file."""
    if not content:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(content), dtype=dtype).reshape(shape)
