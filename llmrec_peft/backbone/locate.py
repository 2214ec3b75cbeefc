"""Locate the files of a backbone by alias, folder or Hub id, and verify them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from llmrec_peft import registry
from llmrec_peft.backbone.alias import BackboneAlias
from llmrec_peft.backbone.base_files import content_digest, identity_files, require_base_folder
from llmrec_peft.backbone.base_weights import weights_digest
from llmrec_peft.backbone.gguf import convert_once
from llmrec_peft.errors import InputError, nearest, reason_of

_COMMIT = re.compile(r"^[0-9a-f]{40}$")
_FILES = ["*.json", "*.txt", "*.model", "*.jinja", "*.safetensors"]


@dataclass(frozen=True)
class Location:
    """Folder and identity of a backbone's files.

    Attributes:
        folder: Folder that transformers loads.
        name: Name that an adapter records as its base: a Hub id, or the folder.
        revision: Commit on the Hub; for weights from a package's GGUF file, the commit they were rounded from.
        weights_sha256: Digest over all weight files, independent of names and paths.
        files: Digest of each other file that can change an answer, by its path below the folder.
    """

    folder: Path
    name: str
    revision: str | None
    weights_sha256: str
    files: Mapping[str, str] = field(default_factory=dict)


def locate(name: str, revision: str | None = None) -> Location:
    """Find and verify a backbone.

    Args:
        name: Alias, local folder (recognized by a leading ``.``, ``/`` or ``~``, or by being one), or Hub id.
        revision: Full commit of a Hub id.

    Raises:
        InputError: For an unknown name, weights that differ from the alias's digests, a Hub id without a commit, a
            folder with one, weights that are not safetensors or not finite, a folder that also holds an adapter, or an
            unreachable Hub.
    """
    if name in registry.plugins("backbones"):
        return _aliased(name, registry.get("backbones", name), revision)
    folder = Path(name).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise InputError(
                f"backbone.revision: {name} is a folder here, which has no commits: leave the revision out, or call it"
                " from elsewhere to mean the Hub's"
            )
        return _verified(folder, str(folder), None)
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        known = nearest(name, registry.plugins("backbones"))
        raise InputError(f"backbone.name: {name!r} is no alias, no folder and no Hub id (owner/name): {known}")
    if revision is None or not _COMMIT.match(revision):
        raise InputError(f"backbone.revision: give the full commit (40 hex digits) of {name}, since a branch moves")
    elsewhere = "connect to the network once, or copy the model's folder here and give its path as backbone.name"
    return _verified(_from_hub(name, revision, f"backbone {name}@{revision[:8]}", elsewhere), name, revision)


def _verified(folder: Path, name: str, revision: str | None) -> Location:
    require_base_folder(folder)
    return Location(folder, name, revision, weights_digest(folder), identity_files(folder))


def _aliased(name: str, alias: BackboneAlias, revision: str | None) -> Location:
    if revision not in (None, alias.revision):
        raise InputError(f"backbone.revision: alias {name!r} stands for revision {alias.revision}, not {revision}")
    folder = alias.embedded()
    if folder is not None and alias.gguf is not None:
        converted = convert_once(name, alias)  # verified there
        return _verified(converted, alias.hub_id, alias.revision)
    if folder is None:
        remedy = alias.install or "connect to the network once"
        what = f"backbone {name!r}: {'its package is not installed, and ' if alias.install else ''}{alias.hub_id}"
        folder = _from_hub(alias.hub_id, alias.revision, what, remedy)
    for file, expected in alias.weights.items():
        if not (folder / file).is_file():
            raise InputError(f"backbone {name!r}: {folder} lacks {file}; reinstall it: {alias.install}")
        found = content_digest(folder / file)
        if found != expected:
            raise InputError(
                f"backbone {name!r}: {folder / file} has SHA-256 {found[:12]}…, not {expected[:12]}…;"
                f" these are not its weights and they are not loaded"
            )
    return _verified(folder, alias.hub_id, alias.revision)


def _from_hub(hub_id: str, revision: str, what: str, remedy: str) -> Path:
    """Download one commit's configuration, tokenizer and safetensors into the Hub cache.

    Raises:
        InputError: If they are not in the cache and cannot be fetched: `what` cannot be, why, and the `remedy`.
    """
    from httpx import HTTPError, InvalidURL
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    failures = (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, HTTPError, InvalidURL, OSError)
    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=_FILES))
    except (*failures, RuntimeError, ValueError) as error:  # hf_xet and a closed client raise RuntimeError
        told_not_to = constants.HF_HUB_OFFLINE and isinstance(error, OfflineModeIsEnabled | LocalEntryNotFoundError)
        reason = "HF_HUB_OFFLINE is set" if told_not_to else reason_of(error)
        raise InputError(f"{what} cannot be fetched from the Hub ({reason}): {remedy}") from None
