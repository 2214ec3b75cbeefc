"""Base files: what of a model's folder is read beside its weights, what must not lie there, and their digests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmrec_peft.backbone.remembered import remembered
from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.identity import file_digest, values_digest
from llmrec_peft.regular_files import require_regular
from llmrec_peft.strict_json import read_object

CONFIG = "config.json"
_SHA256 = re.compile(r"^[0-9a-f]{64}$")
_TOKENIZER = re.compile(
    r"^(tokenizer.*\.json|special_tokens_map\.json|added_tokens\.json|(\w+_)?vocab\.(txt|json|bpe)|merges\.txt"
    r"|bpe\.codes|dict\.txt|tekken\.json|chat_template\.(json|jinja)|.+\.(model|tiktoken|vocab))$"
)
_MODULES = re.compile(r"^(modules\.json|config_sentence_transformers\.json|sentence_\w+_config\.json)$")
_MODULE_FOLDER = re.compile(r"^\d+_\w+$")
_READ = frozenset(".json .txt .model .jinja .safetensors .py .tiktoken .codes .bpe .vocab".split())
"""Endings of files that transformers or sentence-transformers may open."""
_LARGEST = {".safetensors": 1 << 50, ".py": 1 << 24}
_LARGEST_OTHER = 1 << 28
"""Bytes of a tokenizer's file, at most; the largest published ones have about 40 MB."""
_MOST = 256
"""Files beside the weights that identify a base, at most: a run's manifest names each."""
LARGEST_CONFIG = 1 << 23
"""Bytes of a configuration file, at most."""
_PASSING = frozenset({"transformers_version", "_name_or_path", "_commit_hash", "__version__"})
"""Fields of a configuration that say who wrote it and change no answer."""
_PLAIN = frozenset({CONFIG, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "modules.json"})
"""JSON files whose content counts and not how it is written."""


def read_config(path: Path, limit: int = LARGEST_CONFIG) -> dict[str, Any]:
    """Read a JSON object of a base: a regular file of at most `limit` bytes, or a link to one, as in the Hub's cache.

    Raises:
        InputError: If it is missing, too large, no regular file or no JSON object.
    """
    with _of_backbone():
        return read_object(path, limit, follow_links=True, infinite=True)


def require_base_file(path: Path) -> None:
    """Refuse what is no regular file, or link to one, of a size that such a file of a base can have.

    Raises:
        InputError: Saying what it is instead.
    """
    with _of_backbone():
        require_regular(path, _LARGEST.get(path.suffix, _LARGEST_OTHER), follow_links=True)


def require_base_folder(folder: Path) -> None:
    """Refuse a folder that is a run, holds an adapter, or holds something else than files where files are read.

    transformers attaches an adapter that it finds beside a model's weights, so that the bare model would be a tuned
    one.

    Raises:
        InputError: Naming what lies there.
    """
    if (folder / "adapter_config.json").exists():
        if (folder / "manifest.json").exists() and not (folder / CONFIG).exists():
            raise InputError(f"backbone.name: {folder} is a run folder, not a base model: give the base it names")
        raise InputError(
            f"backbone: {folder} holds an adapter beside its weights (adapter_config.json), which would be attached as"
            " if it were part of the base: move the adapter's files into a folder of their own"
        )
    try:
        for path in sorted(folder.iterdir()):
            if path.suffix in _READ:
                require_base_file(path)
    except OSError as error:
        raise InputError(f"backbone: {folder} cannot be read ({reason_of(error)})") from None


def content_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, computed once for each state of a large file."""
    digest = remembered(path, "sha256", file_digest)
    return digest if _SHA256.match(digest) else file_digest(path)


def identity_files(folder: Path) -> dict[str, str]:
    """Return the digest of every file of a base, beside its weights, that can change an answer.

    These are its configuration, the tokenizer's files, the files of sentence-transformers with those in module folders
    such as ``1_Pooling``, and Python code that the configuration names. Of configurations the content counts, without
    the fields that only say which library wrote them.

    Args:
        folder: Folder of the base.

    Returns:
        SHA-256 by path below the folder.

    Raises:
        InputError: If a file cannot be read, or there are more than 256.
    """
    runs_code = (folder / CONFIG).exists() and "auto_map" in read_config(folder / CONFIG)
    paths = [path for path in folder.iterdir() if _identifies(path) or (runs_code and path.suffix == ".py")]
    paths += (folder / "additional_chat_templates").glob("*.jinja")
    for inner in folder.iterdir():
        if _MODULE_FOLDER.match(inner.name) and inner.is_dir():
            paths += [path for path in inner.rglob("*") if path.suffix in _READ and not path.is_dir()]
    if len(paths) > _MOST:
        raise InputError(f"backbone: {folder} holds {len(paths):,} files beside its weights, more than any model has")
    digests = {}
    for path in sorted(paths):
        require_base_file(path)
        digests[path.relative_to(folder).as_posix()] = _digest(path)
    return digests


def _identifies(path: Path) -> bool:
    name = path.name
    return name == CONFIG or bool(_TOKENIZER.match(name) or _MODULES.match(name))


def _digest(path: Path) -> str:
    if path.name in _PLAIN or _MODULES.match(path.name) or (path.parent.name[:1].isdigit() and path.suffix == ".json"):
        try:
            values: Any = json.loads(path.read_bytes())
            if isinstance(values, dict):
                values = {key: value for key, value in values.items() if key not in _PASSING}
            return values_digest(values)
        except (ValueError, RecursionError, OSError):
            pass  # broken, or with Infinity in it: known by its bytes
    return content_digest(path)


@contextmanager
def _of_backbone() -> Iterator[None]:
    """Name the section of a recipe that a mistake belongs to."""
    try:
        yield
    except InputError as error:
        raise InputError(f"backbone: {error}") from None
