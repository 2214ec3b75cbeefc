"""Admin key: the first one, written to a file that only its owner reads, and never said anywhere else."""

from __future__ import annotations

import os
from pathlib import Path

from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.printable import shown
from llmrec_peft.serving.http.gate.keyring import KeyRing
from llmrec_peft.serving.http.gate.keys import new_key
from llmrec_peft.serving.http.registry.registry import Registry

FILE = "admin.key"


def require_admin_key(state: Path, ring: KeyRing, registry: Registry) -> Path:
    """Make a first admin key, unless there is one.

    The file is written before the registry knows the key, so that a server that is killed between the two makes
    another one at its next start.

    Args:
        state: Folder of the server.
        ring: Keys.
        registry: Where keys are kept.

    Returns:
        The key's file; it may have been taken away since.

    Raises:
        InputError: If it cannot be written.
    """
    file = state / FILE
    if ring.of(None):
        return file
    text, key = new_key(None, (), None, "first admin key")
    partial = file.with_name(f".{FILE}.new")
    try:
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as writing:
            writing.write(text + "\n")
            writing.flush()
            os.fsync(writing.fileno())
        partial.replace(file)
    except OSError as error:
        raise InputError(f"{shown(file)}: the admin key could not be written ({reason_of(error)})") from None
    registry.put_key(key)
    ring.put(key)
    return file
