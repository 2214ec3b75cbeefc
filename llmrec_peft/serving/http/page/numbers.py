"""Numbers of the page as people read them."""

from __future__ import annotations

_STEP = 1024
_SECOND_MS = 1000


def size(nbytes: float) -> str:
    """Return an amount of memory in the unit that people would use.

    >>> size(0), size(1536), size(3 << 20), size(5 << 40)
    ('0 B', '1.5 KiB', '3.0 MiB', '5.0 TiB')
    """
    value = float(nbytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < _STEP:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= _STEP
    return f"{value:,.1f} TiB"


def latency(seconds: float | None) -> str:
    """Return a time from a request to its answer; a dash where there was no request.

    >>> latency(0.00312), latency(2.5), latency(None)
    ('3.1 ms', '2.50 s', '–')
    """
    if seconds is None:
        return "–"
    milliseconds = seconds * _SECOND_MS
    return f"{milliseconds:.1f} ms" if milliseconds < _SECOND_MS else f"{seconds:,.2f} s"


def rate(per_s: float) -> str:
    """Return a number of events in a second.

    >>> rate(0.25), rate(1234.5)
    ('0.25', '1,234.50')
    """
    return f"{per_s:,.2f}"


def count(number: int) -> str:
    """Return a whole number with its thousands apart.

    >>> count(1234567)
    '1,234,567'
    """
    return f"{number:,}"


def percent(part: float) -> str:
    """Return a part of one in percent.

    >>> percent(0.05), percent(1.0), percent(0.333)
    ('5 %', '100 %', '33.3 %')
    """
    return f"{100 * part:.3g} %"


def part_of(hits: int, misses: int) -> str:
    """Return how many asks were hits, in percent and of how many.

    >>> part_of(3, 1), part_of(0, 0)
    ('75 % of 4', 'none yet')
    """
    asks = hits + misses
    return f"{percent(hits / asks)} of {count(asks)}" if asks else "none yet"


def signed(value: float) -> str:
    """Return a contribution to a score with its sign.

    >>> signed(0.25), signed(-1.5)
    ('+0.2500', '−1.5000')
    """
    return f"{value:+.4f}".replace("-", "−")


def short(digest: str) -> str:
    """Return the first digits of a digest, which people tell versions apart by.

    >>> short("0123456789abcdef")
    '0123456789ab'
    """
    return digest[:12]
