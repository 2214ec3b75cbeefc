"""Numbers of a page as people read them."""

from __future__ import annotations

_LARGE, _SMALL, _FINE, _UNSEEN = 1e6, 1e-4, 1e-3, 5e-6


def figure(value: float | None) -> str:
    """Return a figure with four decimals, a very large or very small one with its power of ten; a dash for none.

    >>> figure(0.91234567), figure(1e300), figure(None), figure(12)
    ('0.9123', '1e+300', '–', '12')
    """
    if value is None:
        return "–"
    if isinstance(value, int) and abs(value) < _LARGE:
        return f"{value:,}"
    return f"{value:.4g}" if abs(value) >= _LARGE or 0 < abs(value) < _SMALL else f"{value:.4f}"


def signed(value: float) -> str:
    """Return a difference with its sign; a small one with five decimals, and one below these as zero.

    >>> signed(0.0123), signed(-2.0), signed(-0.00007), signed(-1e-9)
    ('+0.0123', '−2.0000', '−0.00007', '0.0000')
    """
    size = abs(float(value))
    if size < _UNSEEN:
        return figure(0.0)
    small = size < _FINE
    return f"{'−' if value < 0 else '+'}{f'{size:.5f}' if small else figure(size)}"


def count(value: float) -> str:
    """Return a whole number with its thousands apart; one beyond all counts with its power of ten.

    >>> count(1234567), count(10**40)
    ('1,234,567', '1e+40')
    """
    return f"{value:,.0f}" if abs(value) < 10**15 else f"{float(value):.4g}"


def share(value: float) -> str:
    """Return a share in percent.

    >>> share(0.123)
    '12.3 %'
    """
    return f"{100 * value:.1f} %" if abs(value) < _LARGE else f"{value:.4g}"


def duration(seconds: float) -> str:
    """Return a time in the unit that people would use.

    >>> duration(3.21), duration(150), duration(7300)
    ('3.2 s', '2 min 30 s', '2 h 1 min')
    """
    minute, hour = 60, 3600
    if not 0 <= seconds < hour * 1e6:
        return f"{seconds:.4g} s"
    if seconds < minute:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < hour:
        return f"{whole // minute} min {whole % minute} s"
    return f"{whole // hour:,} h {whole % hour // minute} min"


def memory(megabytes: float) -> str:
    """Return a size in GiB.

    >>> memory(700.4), memory(1e300)
    ('0.68 GiB', '9.766e+296 GiB')
    """
    gib = megabytes / 1024
    return f"{gib:.2f} GiB" if abs(gib) < _LARGE else f"{gib:.4g} GiB"
