"""Push: a copy of a run is made, uploaded in one commit, loaded again and compared with the run."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from llmrec_peft.artifact.fetched import CARD, Verify, fetch
from llmrec_peft.artifact.hub_calls import hub, is_offline
from llmrec_peft.artifact.hub_name import HubName
from llmrec_peft.artifact.manifest import Manifest
from llmrec_peft.errors import InputError
from llmrec_peft.hub.base_licence import licence_on_hub
from llmrec_peft.hub.card_facts import CardBase
from llmrec_peft.hub.hub_card import hub_card
from llmrec_peft.hub.published_copy import Shared, is_public, left_out, write_copy
from llmrec_peft.hub.same_answers import Compared, require_same
from llmrec_peft.hub.signing import Signer
from llmrec_peft.hub.upload import upload
from llmrec_peft.printable import shown
from llmrec_peft.progress import SILENT, Progress
from llmrec_peft.run.language_model import LanguageModel
from llmrec_peft.run.read_tenant import read_tenant
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.run.tenant import LoadedTenant

Sign = Callable[[Path], object]
"""Writes a signature of the files of a folder into it, as ``model.sig``."""


@dataclass(frozen=True)
class Choice:
    """What somebody who publishes a run chooses.

    Attributes:
        users: Whether ids and tables of users are published; their interactions never are.
        items: Whether titles, texts and columns of items are; None where that follows from the data: they are if
            everybody can have it.
        private: Whether the repository has to be private.
        licence: Licence of what is published, by the Hub's identifier; None where it follows from base and data.
        sign: Signs what is uploaded.
        verify: Verifies the signature of what was loaded again.
    """

    users: bool = False
    items: bool | None = None
    private: bool = False
    licence: str | None = None
    sign: Sign | None = None
    verify: Verify | None = None

    def signed_by(self, signer: Signer) -> Self:
        """Return the same choice with what is uploaded signed by a key."""
        return replace(self, sign=signer.sign, verify=signer.verify)


@dataclass(frozen=True)
class Copy:
    """A copy of a run that is ready to be uploaded.

    Attributes:
        folder: Where it lies.
        run: The run.
        manifest: Manifest of the copy.
        shared: What it has of the run.
        left_out: What it lacks, a line each.
        compared: What was found to be the same as in the run.
    """

    folder: Path
    run: LoadedTenant
    manifest: Manifest
    shared: Shared
    left_out: list[str]
    compared: Compared

    @property
    def card(self) -> str:
        """Text of its card."""
        return (self.folder / CARD).read_text(encoding="utf-8")

    def plain(self) -> dict[str, Any]:
        """Return what it is as plain values: digests, files with their bytes, and what was left out."""
        files = {path.name: path.stat().st_size for path in sorted(self.folder.iterdir())}
        return {
            "run": str(self.run.folder),
            "digest": self.manifest.digest,
            "users": self.shared.users,
            "items": self.shared.items,
            "files": files,
            "bytes": sum(files.values()),
            "left_out": self.left_out,
            "same": str(self.compared),
        }


def dry_run(run: Path, name: HubName, choice: Choice) -> dict[str, Any]:
    """Return what `push` would upload, and its card; nothing is sent or asked.

    The card names the licence of the base model where it is known here; `push` asks the Hub.

    Raises:
        InputError: As `push`, except for the network.
    """
    with copied_run(run, name, choice, online=False) as copy:
        return {"repository": name.repository, **copy.plain(), "card": copy.card}


def push(run: Path, name: HubName, choice: Choice, progress: Progress = SILENT) -> dict[str, Any]:
    """Publish a run on the Hugging Face Hub.

    A copy of the run is made, without what is private, and compared with the run. It is uploaded in one commit. Then
    that commit is loaded into an empty folder and compared with the run again: its item vectors, its recommendations
    to a new user, and those to every user if users are published.

    Args:
        run: Run folder.
        name: Repository; its revision, if it has one, is a branch.
        choice: What is published.
        progress: Where notes go.

    Returns:
        ``repository``, ``commit`` and ``url``; ``digest`` of the copy; ``files`` with their bytes; ``left_out``, what
        was not published; ``same``, what was compared.

    Raises:
        InputError: If the run cannot be published so, the Hub cannot be reached or refuses, or what is there after the
            upload does not answer as the run.
    """
    if name.is_pinned:
        raise InputError(f"{name}: a commit cannot be pushed to: give a branch, or no revision")
    with copied_run(run, name, choice) as copy:
        progress.note(f"copy of {shown(run)}: {copy.compared} are the same")
        told = copy.plain()
        made = upload(copy.folder, name, choice.private, f"llmrec-peft run {copy.manifest.digest[:12]}")
        progress.note(f"uploaded: {made.name}")
        compared = _loaded_again(copy, made.name, choice.verify)
        progress.note(f"loaded again: {compared} are the same")
    return {"repository": name.repository, "commit": made.name.revision, "url": made.url, **told}


@contextlib.contextmanager
def copied_run(run: Path, name: HubName, choice: Choice, online: bool = True) -> Iterator[Copy]:
    """Make a copy of a run that may be published, compared with the run; it is there inside the block.

    Args:
        run: Run folder.
        name: Repository.
        choice: What is published.
        online: Whether the Hub may be asked for the licence of the base model.

    Raises:
        InputError: If the folder is no run, cannot answer without what is left out, or the copy does not answer as it.
    """
    tenant = Recommender.from_pretrained(run).loaded
    items = is_public(tenant.recipe) if choice.items is None else choice.items
    shared = Shared(choice.users, items)
    with tempfile.TemporaryDirectory(prefix="llmrec-push-") as place:
        folder = Path(place) / "run"
        folder.mkdir()
        manifest = write_copy(tenant, folder, shared)
        lacking = left_out(tenant, shared)
        (folder / CARD).write_text(_card(folder, name, manifest, shared, choice, online), encoding="utf-8")
        if choice.sign is not None:
            choice.sign(folder)
        compared = require_same(tenant, _read(folder, tenant))
        yield Copy(folder, tenant, manifest, shared, lacking, compared)


def _card(folder: Path, name: HubName, manifest: Manifest, shared: Shared, choice: Choice, online: bool) -> str:
    """Return the card of a copy."""
    asked = online and not is_offline()
    base_licence = licence_on_hub(CardBase.of(manifest.base), hub()) if asked else None
    signed = choice.sign is not None
    card = hub_card(folder, name.repository, shared.users, shared.items, choice.licence, base_licence, signed)
    return str(card)


def _loaded_again(copy: Copy, name: HubName, verify: Verify | None) -> Compared:
    """Load what was uploaded into an empty folder, past every cache, and compare it with the run.

    Raises:
        InputError: Naming what differs.
    """
    with tempfile.TemporaryDirectory(prefix="llmrec-pull-") as place:
        found = fetch(name, Path(place) / "run", verify=verify, cache=Path(place) / "cache")
        if found.manifest.digest != copy.manifest.digest:
            raise InputError(f"{name} is another run than the one that was uploaded: {found.manifest.digest[:12]}")
        try:
            return require_same(copy.run, _read(found.folder, copy.run))
        except InputError as error:
            raise InputError(f"{name} was uploaded and does not answer as {copy.run.folder}: {error}") from None


def _read(folder: Path, run: LoadedTenant) -> LoadedTenant:
    """Read a copy on the base of its run."""

    def base(manifest: Manifest, _: object) -> LanguageModel:
        run.base.require(manifest, str(folder))
        return run.base

    return read_tenant(folder, run.model.device, base)
