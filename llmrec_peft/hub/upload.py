"""Upload: the files of a folder become one commit of a repository on the Hugging Face Hub, or none."""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmrec_peft.artifact.fetched import CARD
from llmrec_peft.artifact.hub_calls import TRIES, bars_on_terminals, hub, is_offline, is_passing, telling, tried
from llmrec_peft.artifact.hub_name import HubName
from llmrec_peft.artifact.manifest import NAME, ORIGIN, PRIVATE, PUBLISHED, REPORTS, SIGNATURE
from llmrec_peft.errors import InputError
from llmrec_peft.identity import file_digest

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

OURS = frozenset((*PUBLISHED, *PRIVATE, *REPORTS, NAME, CARD, SIGNATURE, ORIGIN))
"""Files of a run; those of an earlier commit that the folder lacks are removed, and all others stay."""
_SECONDS = 1.0


@dataclass(frozen=True)
class Uploaded:
    """A commit that was made.

    Attributes:
        name: Repository and commit.
        url: Address of the repository's page.
    """

    name: HubName
    url: str


def upload(folder: Path, name: HubName, private: bool, message: str) -> Uploaded:
    """Upload all files of a folder in one commit, on top of what the branch has now.

    What is uploaded before the commit is visible to nobody. A commit whose answer got lost is found again.

    Args:
        folder: Folder with files alone.
        name: Repository, made if it is not there; the revision is a branch.
        private: Whether the repository has to be private.
        message: What the commit says.

    Raises:
        InputError: If the Hub cannot be reached or refuses, or somebody else commits meanwhile; or if the repository is
            public and was to be private.
    """
    if is_offline():
        raise InputError(f"{name} cannot be pushed: HF_HUB_OFFLINE is set: unset it to ask the Hub")
    with telling(f"{name} cannot be pushed"):
        api = hub()
        url = str(tried(lambda: api.create_repo(name.repository, private=private or None, exist_ok=True)))
        branch = name.revision or "main"
        if name.revision is not None:
            tried(lambda: api.create_branch(name.repository, branch=branch, exist_ok=True))
        head = _head(api, name)
    if private and not head.private:
        raise InputError(f"{name.repository} is there already and public: make it private on its page, or use another")
    there = {one.rfilename for one in head.siblings or []}
    with telling(f"{name} cannot be pushed"), bars_on_terminals():
        commit = _committed(api, name, _operations(folder, there), str(head.sha), folder, message)
    return Uploaded(name.at(commit), url)


def _operations(folder: Path, there: set[str]) -> Mapping[str, object]:
    """Return what the commit does, by file."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    files = sorted(path for path in folder.iterdir() if path.is_file())
    added: dict[str, object] = {path.name: CommitOperationAdd(path.name, path) for path in files}
    gone = sorted((there & OURS) - added.keys())
    return {**added, **{name: CommitOperationDelete(name) for name in gone}}


def _committed(
    api: HfApi, name: HubName, operations: Mapping[str, object], parent: str, folder: Path, message: str
) -> str:
    """Make the commit, again where the connection broke, and return it.

    After a broken connection nobody knows whether the commit was made: the branch is looked at before it is tried
    again, and a second commit on the same parent would be refused.
    """
    from httpx import HTTPError

    for number in range(1, TRIES + 1):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # that a table is a data set, which it is not here
                made = api.create_commit(
                    name.repository,
                    list(operations.values()),  # type: ignore[arg-type]
                    commit_message=message,
                    revision=name.revision,
                    parent_commit=parent,
                )
            return str(made.oid)
        except HTTPError as error:
            found = _found(api, name, parent, folder)
            if found is not None:
                return found
            if number == TRIES or not is_passing(error):
                raise
            time.sleep(_SECONDS * number)
    raise AssertionError  # the last try returns or raises


def _head(api: HfApi, name: HubName) -> ModelInfo:
    return tried(lambda: api.model_info(name.repository, revision=name.revision, files_metadata=True))


def _found(api: HfApi, name: HubName, parent: str, folder: Path) -> str | None:
    """Return the branch's commit if it has moved on and has exactly the files of the folder; None otherwise."""
    from httpx import HTTPError

    try:
        head = _head(api, name)
    except HTTPError:
        return None
    if head.sha is None or head.sha == parent:
        return None
    there = {one.rfilename: one for one in head.siblings or []}
    if any(not _is_same(path, there.get(path.name)) for path in folder.iterdir()):
        return None
    return str(head.sha)


def _is_same(path: Path, there: RepoSibling | None) -> bool:
    """Return whether a file of a repository has a local file's bytes."""
    if there is None:
        return False
    if there.lfs is not None:
        return there.lfs.sha256 == file_digest(path)
    content = path.read_bytes()  # a large file lies in the large storage, with a digest
    return there.blob_id == hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324 - git's name
