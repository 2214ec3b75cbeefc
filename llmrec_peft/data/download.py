"""Download: an owner's archive, verified by digest, unpacked file by file."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import os
import shutil
import tempfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

from llmrec_peft.data.source import Download
from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.progress import bar

_TIMEOUT_SECONDS = 30
_MAX_BYTES = 512 << 20
_CHUNK = 1 << 18


def fetch(download: Download, target: Path) -> None:
    """Fetch an archive and unpack the files that a reader needs.

    Args:
        download: Address, digests and licence.
        target: Folder to make.

    Raises:
        InputError: If anything is there, the folder cannot be made, the owner cannot be reached, or a digest does not
            match; nothing is left behind then.
    """
    made: list[Path] = []
    partial: Path | None = None
    try:
        if target.name in ("", ".."):
            raise InputError(f"{target} names no folder of its own: give a name, such as {target / download.folder}")
        if os.path.lexists(target):
            raise InputError(f"{target} exists already")
        made += [parent for parent in target.parents if not os.path.lexists(parent)]
        target.parent.mkdir(parents=True, exist_ok=True)
        # before anything is fetched: whether a folder can be made there is tried, not asked
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".new", dir=target.parent))
        archive = _read(download)
        found = hashlib.md5(archive, usedforsecurity=False).hexdigest()
        if found != download.md5:
            raise InputError(
                f"{download.url}: MD5 {found}, not {download.md5} as its owner publishes; nothing was kept"
            )
        for name, content in _unpacked(download, archive).items():
            with (partial / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        partial.chmod(0o755)
        partial.rename(target)
        made.clear()
    except (OSError, ValueError) as error:
        raise InputError(f"{target}: {reason_of(error)}; nothing was kept") from None
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()  # if it is empty


def _unpacked(download: Download, archive: bytes) -> dict[str, bytes]:
    """Return the archive's known files, each verified by its digest."""
    contents = {}
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as files:
            for name, expected in download.sha256.items():
                content = files.read(f"{download.folder}/{name}")
                if hashlib.sha256(content).hexdigest() != expected:
                    raise InputError(f"{download.url}: {name} is not the file that is known; nothing was kept")
                contents[name] = content
    except (zipfile.BadZipFile, KeyError) as error:
        raise InputError(f"{download.url}: not the archive it should be ({error}); nothing was kept") from None
    return contents


def _read(download: Download) -> bytes:
    """Fetch the archive into memory; the archives that readers name are small."""
    if not download.url.startswith("https://"):
        raise InputError(f"{download.url}: only https addresses are fetched")
    content = io.BytesIO()
    try:
        with urllib.request.urlopen(download.url, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310 - https only
            total = int(answer.headers.get("Content-Length") or 0)
            with bar("download", total) as shown:
                while chunk := answer.read(_CHUNK):
                    content.write(chunk)
                    shown.advance(len(chunk))
                    if content.tell() > _MAX_BYTES:
                        raise InputError(f"{download.url}: over {_MAX_BYTES >> 20} MiB, which is not the known archive")
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        cause = getattr(error, "reason", None) or error
        raise InputError(
            f"{download.url} cannot be reached ({cause}); fetch it elsewhere, unpack it,"
            " and give its folder with --data"
        ) from None
    return content.getvalue()
