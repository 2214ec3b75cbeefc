"""Key files: where a client finds its key, and how a new key is stored for its owner alone."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.printable import shown
from llmrec_peft.regular_files import open_regular, read_parts

VARIABLE = "LLMREC_KEY"
"""Environment variable that holds a key."""
ADMIN_KEY = Path("serve-state/admin.key")
"""Where `llmrec serve` writes the first key, below the folder in which it is started."""
_KEY = re.compile(r"llmrec_[0-9a-f]{8}_[A-Za-z0-9_-]{43}")
_FILE_BYTES = 4_096
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def checked_key(text: str, where: str) -> str:
    """Return a key without the white space around it.

    Args:
        text: The key.
        where: Where it comes from, for the message.

    Raises:
        InputError: If it does not look like a key of `llmrec serve`; the message does not repeat it.
    """
    key = text.strip()
    if _KEY.fullmatch(key) is None:
        raise InputError(f"{where}: holds no key of llmrec serve (llmrec_…)")
    return key


def read_key_file(file: Path) -> str:
    """Return the key in a file that nobody but its owner can read.

    Raises:
        InputError: If the file is missing, others can read or write it, or it holds no key.
    """
    with open_regular(file, _FILE_BYTES) as (descriptor, found):
        if os.name == "posix" and found.st_mode & _OTHERS:
            raise InputError(f"{shown(file)}: others can read or write this key: chmod 600 {shown(file)}")
        content = b"".join(read_parts(descriptor, _FILE_BYTES))
    return checked_key(content.decode("ascii", "replace"), shown(file))


def write_key_file(file: Path, key: str) -> None:
    """Write a key into a new file that its owner alone can read (mode 600).

    Raises:
        InputError: If the file exists, or cannot be written.
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    except OSError as error:
        raise InputError(f"{shown(file)}: the key cannot be written ({reason_of(error)})") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(f"{key}\n")
        stream.flush()
        os.fsync(stream.fileno())


def found_key(file: Path | None, environment: Mapping[str, str] | None = None) -> str | None:
    """Return the key to use: that of the file, else that of the environment, else that of a server started here.

    Args:
        file: Key file that was named; None if none was.
        environment: Variables; by default those of the process.

    Returns:
        The key; None if there is none.

    Raises:
        InputError: As `read_key_file`; or if the variable holds no key.
    """
    if file is not None:
        return read_key_file(file)
    told = (os.environ if environment is None else environment).get(VARIABLE)
    if told:
        return checked_key(told, VARIABLE)
    return read_key_file(ADMIN_KEY) if ADMIN_KEY.is_file() else None
