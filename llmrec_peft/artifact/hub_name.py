"""Names of repositories on the Hugging Face Hub: ``OWNER/NAME``, with a revision or without."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Self

from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted

_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_REVISION = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_./-]*[A-Za-z0-9_])?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LONGEST, _LONGEST_REVISION = 96, 200
"""Characters of ``OWNER/NAME``, as on the Hub, and of a revision."""


@dataclass(frozen=True)
class HubName:
    """A repository on the Hub, at a revision.

    Attributes:
        owner: User or organization.
        name: Name of the repository.
        revision: Branch, tag or full commit; None for the main branch.
    """

    owner: str
    name: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str, revision: str | None = None) -> Self:
        """Read ``OWNER/NAME`` or ``OWNER/NAME@REVISION``.

        >>> HubName.parse("ann/films@v1.2").revision, HubName.parse("ann/films").repository
        ('v1.2', 'ann/films')

        Args:
            text: What somebody typed.
            revision: Revision, if it was given apart.

        Raises:
            InputError: If it is no such name, or two revisions are given.
        """
        repository, mark, behind = text.partition("@")
        if mark and revision is not None and behind != revision:
            raise InputError(f"two revisions are given, {quoted(behind)} and {quoted(revision)}: leave one of them out")
        wanted = behind if mark else revision
        owner, slash, name = repository.partition("/")
        if not slash or not _is_part(owner) or not _is_part(name) or len(repository) > _LONGEST:
            raise InputError(
                f"{quoted(repository)} is no OWNER/NAME of the Hub: both parts have letters a to z, digits, '_', '-'"
                f" and '.', {_LONGEST} characters in all; neither begins or ends with '-' or '.', ends with .git, or"
                " has '--' or '..' in it"
            )
        if wanted is not None and not _is_revision(wanted):
            raise InputError(f"{quoted(wanted)} is no revision: give a branch, a tag or a commit of 40 hex digits")
        return cls(owner, name, wanted)

    @property
    def repository(self) -> str:
        """``OWNER/NAME``."""
        return f"{self.owner}/{self.name}"

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a full commit, which never changes."""
        return self.revision is not None and is_commit(self.revision)

    def at(self, commit: str) -> HubName:
        """Return the same repository at a commit.

        Raises:
            InputError: If it is no full commit.
        """
        if not is_commit(commit):
            raise InputError(f"{self}: the Hub answers with {quoted(commit)}, which is no commit")
        return replace(self, revision=commit)

    def __str__(self) -> str:
        return self.repository if self.revision is None else f"{self.repository}@{self.revision}"


def is_commit(text: str) -> bool:
    """Return whether a text is a full commit: 40 hex digits."""
    return _COMMIT.fullmatch(text) is not None


def is_hub_name(text: str) -> bool:
    """Return whether a text is ``OWNER/NAME`` or ``OWNER/NAME@REVISION``."""
    try:
        HubName.parse(text)
    except InputError:
        return False
    return True


def _is_part(text: str) -> bool:
    """Whether a text may be an owner or a name; the expression has ASCII letters alone, and no line end."""
    return _PART.fullmatch(text) is not None and "--" not in text and ".." not in text and not text.endswith(".git")


def _is_revision(text: str) -> bool:
    """Whether a text may be a branch, a tag or a commit, and no path that leads elsewhere."""
    forbidden = any(part in text for part in ("..", "//", "/.", ".lock"))
    return len(text) <= _LONGEST_REVISION and _REVISION.fullmatch(text) is not None and not forbidden
