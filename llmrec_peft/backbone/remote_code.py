"""Remote code: whether Python code that comes with a base model may run; only the person who types can say so.

A recipe asks for it (``backbone.trust_remote_code``), but recipes and runs are what people share: asking is not
allowing. The command line allows it by ``--trust-remote-code``, Python by ``trust_remote_code=True``, for what runs
inside `allowing`; everything that loads a base asks `decided`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from llmrec_peft.errors import InputError
from llmrec_peft.recipe.sections import BackboneSection

_ALLOWED: ContextVar[bool] = ContextVar("remote code is allowed", default=False)


@contextmanager
def allowing(trust_remote_code: bool) -> Iterator[None]:
    """Allow code of base models inside the block, if a person said so; False changes nothing."""
    token = _ALLOWED.set(_ALLOWED.get() or trust_remote_code)
    try:
        yield
    finally:
        _ALLOWED.reset(token)


def is_allowed() -> bool:
    """Return whether a person has allowed code of base models."""
    return _ALLOWED.get()


def decided(section: BackboneSection) -> bool:
    """Return whether the base's own Python code is to run: the recipe asks for it and a person allowed it.

    Raises:
        InputError: If the recipe asks and nobody allowed it.
    """
    if section.trust_remote_code and not _ALLOWED.get():
        raise InputError(
            f"backbone.trust_remote_code: the recipe asks to run Python code that comes with {section.name}; read that"
            " code, then allow it with --trust-remote-code (in Python: trust_remote_code=True)"
        )
    return section.trust_remote_code
