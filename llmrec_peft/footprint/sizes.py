"""Read and show amounts of memory as people write them."""

from __future__ import annotations

import math
import re

from llmrec_peft.errors import InputError

_UNITS = {
    "B": 1,
    **{f"{letter}B": 1000**power for power, letter in enumerate("KMGT", 1)},
    **{f"{letter}iB": 1024**power for power, letter in enumerate("KMGT", 1)},
}
_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*$")


def parse_memory(text: str, option: str = "--gpu") -> int:
    """Return the bytes of an amount of memory.

    >>> parse_memory("12GB"), parse_memory("11.5 GiB")
    (12000000000, 12348030976)

    Raises:
        InputError: When the text is no positive number with a unit.
    """
    found = _SIZE.match(text)
    units = {unit.lower(): size for unit, size in _UNITS.items()}
    if found is None or found[2].lower() not in units:
        raise InputError(f"{option}: {text!r} is no amount of memory; write it as 12GB, 11.5GiB or 24000MiB")
    value = float(found[1]) * units[found[2].lower()]
    if not math.isfinite(value) or value < 1:
        raise InputError(f"{option}: {text!r} is no memory to fit into")
    return int(value)


def show_memory(size: float) -> str:
    """Return an amount for people, in MiB below one GiB.

    >>> show_memory(3 * 2**20), show_memory(1.5 * 2**30)
    ('3.0 MiB', '1.50 GiB')
    """
    return f"{size / 2**30:.2f} GiB" if abs(size) >= 2**30 else f"{size / 2**20:.1f} MiB"
