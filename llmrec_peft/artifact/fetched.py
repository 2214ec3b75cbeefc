"""Fetched: a run of the Hugging Face Hub, written as a run folder here; only a run's files, each verified."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmrec_peft import registry
from llmrec_peft.artifact.folder import require_free, whole_folder
from llmrec_peft.artifact.hub_commit import HubCommit
from llmrec_peft.artifact.hub_name import HubName, is_hub_name
from llmrec_peft.artifact.lineage import FILE as LINEAGE
from llmrec_peft.artifact.lineage import LINEAGE_BYTES, parse_lineage
from llmrec_peft.artifact.manifest import (
    NAME,
    ORIGIN,
    PRIVATE,
    SIGNATURE,
    Manifest,
    limit_of,
    read_manifest,
    require_digest,
    write_json,
)
from llmrec_peft.artifact.sealed import copied, read_content
from llmrec_peft.backbone.remembered import cache_folder
from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted, shown
from llmrec_peft.progress import note, warn
from llmrec_peft.regular_files import is_folder

CARD = "README.md"
_LIMITS = {CARD: 1 << 20, SIGNATURE: 4 << 20}
"""Bytes of the files that no manifest lists: the card and the signature."""
_OF_THE_HUB = frozenset((".gitattributes", ".gitignore", "LICENSE", "LICENSE.md", "LICENSE.txt"))
"""Files that a repository may have besides, and of which nothing is said."""
_NAMED = 3
Verify = Callable[[Path], object]
"""Looks at a folder that was fetched, before it gets its name, and raises `InputError` if it is not to be had."""


@dataclass(frozen=True)
class Fetched:
    """A run that was fetched.

    Attributes:
        name: Repository and commit.
        folder: Where it lies.
        manifest: Its manifest.
        notes: What whoever pulled it should know, a line each: files that were not fetched, plugins that are missing.
    """

    name: HubName
    folder: Path
    manifest: Manifest
    notes: tuple[str, ...] = ()


def run_folder(run: str | Path, revision: str | None = None) -> Path:
    """Return the folder of a run that somebody named: a folder here, or a repository of the Hub, which is fetched.

    What lies here wins. A name whose owner is a folder here is taken for a mistyped path, and the Hub is not asked.

    Args:
        run: Run folder, or ``OWNER/NAME`` or ``OWNER/NAME@REVISION``.
        revision: Revision on the Hub.

    Raises:
        InputError: If a folder is given with a revision, or the repository cannot be fetched, or is no run.
    """
    path = Path(run)
    named = str(run)
    if os.path.lexists(path) or not is_hub_name(named) or is_folder(Path(named.partition("/")[0])):
        if revision is not None:
            raise InputError(
                f"{shown(path)} is a path here, which has no revisions: leave {quoted(revision)} out, or call it from"
                " elsewhere to mean the Hub's"
            )
        return path
    try:
        found = fetched_once(HubName.parse(named, revision))
    except InputError as error:
        raise InputError(f"there is no folder {named} here, and {error}") from error
    note(f"there is no folder {named} here: the run is that of the Hub, {found.name}")  # it may be a mistyped path
    for line in found.notes:
        warn(line)
    return found.folder


def fetched_once(name: HubName, verify: Verify | None = None) -> Fetched:
    """Fetch a run into the user's cache, unless this commit of it is there already.

    Args:
        name: Repository; without a revision its main branch as it is now.
        verify: Looks at the folder before it gets its name, and at one that was there.

    Raises:
        InputError: As `fetch`.
    """
    place = cache_folder() / "runs" / f"{name.owner}--{name.name}"
    pinned = place / name.revision if name.is_pinned and name.revision is not None else None
    if pinned is None or not is_folder(pinned):
        source = HubCommit.of(name, NAME, limit_of(NAME))
        pinned = place / str(source.name.revision)
        if not is_folder(pinned):
            pinned.parent.mkdir(parents=True, exist_ok=True)
            return _written(source, pinned, False, verify)
        name = source.name
    if verify is not None:
        verify(pinned)
    return Fetched(name, pinned, read_manifest(pinned, verify=False))


def fetch(
    name: HubName, target: Path, overwrite: bool = False, verify: Verify | None = None, cache: Path | None = None
) -> Fetched:
    """Fetch a run of the Hub and write it whole.

    A branch is resolved to its commit first, and all files are of that commit. Only the files that the run's manifest
    lists are fetched, with the card and a signature; their sizes are bounded before and while they are loaded, and
    each has to have the digest that the manifest says.

    Args:
        name: Repository; without a revision its main branch as it is now.
        target: Folder to write.
        overwrite: Whether a run, or an empty folder, may be replaced.
        verify: Looks at the folder before it gets its name.
        cache: Folder of the Hub's cache; by default that of the environment.

    Raises:
        InputError: If the folder is in the way, the Hub cannot be reached or knows no such repository, or what it has
            is no run: nothing is written then. Files that were loaded completely stay in the cache.
    """
    require_free(target, overwrite)
    return _written(HubCommit.of(name, NAME, limit_of(NAME), cache), target, overwrite, verify)


def _written(source: HubCommit, target: Path, overwrite: bool, verify: Verify | None) -> Fetched:
    """Fetch the files of the run and write its folder whole."""
    with whole_folder(target, overwrite) as folder:
        _copy(source, NAME, folder)
        try:
            manifest = read_manifest(folder, verify=False)
        except InputError as error:
            raise InputError(f"{source.name} is no run that can be pulled: {_without(folder, error)}") from None
        for file in (*manifest.files, *manifest.reports):
            digest = _copy(source, file, folder)
            try:
                require_digest(folder / file, manifest, digest)
            except InputError as error:
                raise InputError(f"{source.name}: {_without(folder, error)}; nothing was written") from None
        for file in (CARD, SIGNATURE):
            if source.has(file, _limit(file)):
                _copy(source, file, folder)
        write_json(folder / ORIGIN, {"repository": source.name.repository, "commit": source.name.revision})
        if verify is not None:
            try:
                verify(folder)
            except InputError as error:
                raise InputError(f"{source.name}: {_without(folder, error)}; nothing was written") from None
        notes = (*_ignored(source, manifest), *_missing_plugins(source.name, folder, manifest))
    return Fetched(source.name, target, manifest, notes)


def _copy(source: HubCommit, file: str, folder: Path) -> str:
    """Load a file and copy it; returns its SHA-256."""
    return copied(source.path(file, _limit(file)), folder / file, _limit(file), follow_links=True)


def _ignored(source: HubCommit, manifest: Manifest) -> tuple[str, ...]:
    """Return a line that names files which were not fetched, if there are any."""
    known = {*manifest.files, *manifest.reports, CARD, NAME, SIGNATURE, *_OF_THE_HUB}
    strange = sorted(source.sizes.keys() - known)
    if not strange:
        return ()
    named = ", ".join(quoted(file, 60) for file in strange[:_NAMED])
    more = f" and {len(strange) - _NAMED} more" if len(strange) > _NAMED else ""
    private = any(file in PRIVATE for file in strange)
    what = "no published file of a run" if private else "no file of a run"
    return (f"{source.name}: {named}{more} not fetched: {what}",)


def _limit(file: str) -> int:
    return _LIMITS[file] if file in _LIMITS else limit_of(file)


def _missing_plugins(name: HubName, folder: Path, manifest: Manifest) -> list[str]:
    """Return a line for each plugin that the run needs and no installed package provides; none is ever installed."""
    if LINEAGE not in manifest.reports:
        return []
    told = parse_lineage(read_content(folder / LINEAGE, LINEAGE_BYTES), folder / LINEAGE).steps[-1].published
    lines = []
    for plugin, package in (told.plugins if told is not None else {}).items():
        kind, _, own = plugin.partition(" ")
        if kind in registry.KINDS and own not in registry.plugins(kind):
            lines.append(
                f"{name}: needs the {registry.KINDS[kind]} {quoted(own, 60)}, which no installed package provides; its"
                f" publisher had it from {quoted(package, 80)}: read that package before you install it"
            )
    return lines


def _without(folder: Path, error: InputError) -> str:
    """Return what an error says, without the path of a folder that is gone when it is read."""
    return str(error).replace(f"{folder}/", "").replace(str(folder), "it")
