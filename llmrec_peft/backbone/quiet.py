"""Quiet: hide notices of libraries from the terminal."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hide bars of transformers inside the block, and all its messages but errors."""
    from transformers.utils import logging as reports

    level, bars = reports.get_verbosity(), reports.is_progress_bar_enabled()
    reports.set_verbosity_error()
    reports.disable_progress_bar()
    try:
        yield
    finally:
        reports.set_verbosity(level)
        if bars:
            reports.enable_progress_bar()


def quiet_notices() -> None:
    """Silence notices of libraries about intended behaviour, for the whole process.

    bitsandbytes warns on import about an optional kernel that is not installed, and at every product of an 8-bit
    layer that the input is cast; transformers, that prefix tuning uses a name which the pinned versions have; PEFT,
    that a norm is no linear layer.
    """
    for name in ("bitsandbytes.autograd._functions", "bitsandbytes.backends.cpu.ops"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*`past_key_values` is deprecated.*", category=FutureWarning)
    warnings.filterwarnings("ignore", message="Unsupported layer type .*LayerNorm.*", category=UserWarning)
    warnings.filterwarnings("ignore", message="Unsupported layer type .*RMSNorm.*", category=UserWarning)
