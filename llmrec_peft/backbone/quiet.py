"""Quiet: hide notices of libraries from the terminal."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

from llmrec_peft.errors import InputError


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hide bars and messages of transformers inside the block; what it raises says what was wrong.

    Its messages repeat whole configurations, which may come from a stranger.
    """
    from transformers.utils import logging as reports

    level, bars = reports.get_verbosity(), reports.is_progress_bar_enabled()
    reports.set_verbosity(logging.CRITICAL)
    reports.disable_progress_bar()
    try:
        yield
    finally:
        reports.set_verbosity(level)
        if bars:
            reports.enable_progress_bar()


@contextlib.contextmanager
def refused_in_one_line(subject: str) -> Iterator[None]:
    """Turn whatever a library raises over files from outside into one line about them.

    transformers and its kin raise nearly any type over a broken configuration, tokenizer or weight file; the
    tokenizers' Rust code even a panic that is no `Exception`. The cause stays attached.

    Args:
        subject: What was being read, at the beginning of the line.

    Raises:
        InputError: With the first line of the library's message.
    """
    try:
        yield
    except InputError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:400]
        kind = "" if said and isinstance(error, OSError | ValueError | ImportError) else f"{type(error).__name__}: "
        raise InputError(f"{subject}: {kind}{said}".removesuffix(": ")) from error


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
