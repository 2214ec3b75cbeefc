"""A commit of a repository on the Hugging Face Hub: its files, loaded into the Hub's cache within bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from llmrec_peft.artifact.download_bar import bounded_bar
from llmrec_peft.artifact.hub_calls import hub, is_offline, is_passing, telling, tried, why
from llmrec_peft.artifact.hub_name import HubName
from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted
from llmrec_peft.progress import warn

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

_MOST_FILES = 10_000


@dataclass(frozen=True)
class HubCommit:
    """A commit of a repository.

    Attributes:
        name: Repository and commit.
        sizes: Sizes of its files in bytes, as the Hub says; empty where it cannot be asked.
        cache: Folder of the Hub's cache; None for that of the environment.
    """

    name: HubName
    sizes: Mapping[str, int] = field(default_factory=dict)
    cache: Path | None = None

    @classmethod
    def of(cls, name: HubName, file: str, limit: int, cache: Path | None = None) -> HubCommit:
        """Resolve a revision to its commit, and list the commit's files.

        Args:
            name: Repository; without a revision its main branch as it is now.
            file: A file that every commit has which is asked for; the cache finds the commit of a branch by it.
            limit: Bytes that it can have.
            cache: Folder of the Hub's cache; None for that of the environment.

        Raises:
            InputError: If the Hub cannot be asked and the cache has no such commit, or it lists too many files.
        """
        info = None if is_offline() else _told(name, file, limit, cache)
        if info is None:
            path = _loaded(name, file, limit, cache, local=True)
            return cls(name.at(path.parent.name), {}, cache)
        siblings = info.siblings or []
        if len(siblings) > _MOST_FILES:
            raise InputError(f"{name}: has {len(siblings):,} files, more than the {_MOST_FILES:,} that are looked at")
        found = name.at(str(info.sha))
        if _loaded(name, file, limit, cache).parent.name != found.revision:
            raise InputError(f"{name} moved on while it was pulled: try again")
        return cls(found, {one.rfilename: one.size or 0 for one in siblings}, cache)

    def has(self, file: str, limit: int) -> bool:
        """Return whether the commit has a file; where the Hub cannot be asked, whether the cache has it."""
        if self.sizes:
            return file in self.sizes
        try:
            self.path(file, limit)
        except InputError:
            return False
        return True

    def path(self, file: str, limit: int) -> Path:
        """Return the path of a file in the Hub's cache, where it is loaded if it is not there; it is a link.

        Args:
            file: The file.
            limit: Bytes that it can have: more are refused by what the Hub says, and while they come.

        Raises:
            InputError: If the commit has no such file, it is larger, or it cannot be loaded.
        """
        size = self.sizes.get(file, 0)
        if size > limit:
            raise InputError(
                f"{self.name}: {file} has {size:,} bytes, more than the {limit:,} that such a file can have"
            )
        if self.sizes and file not in self.sizes:
            raise InputError(f"{self.name}: {file} is missing")
        path = _loaded(self.name, file, limit, self.cache, local=not self.sizes)
        if path.parent.name != self.name.revision:
            raise InputError(f"{self.name}: the Hub hands out {file} of another commit, {quoted(path.parent.name)}")
        return path


def _told(name: HubName, file: str, limit: int, cache: Path | None) -> ModelInfo | None:
    """Return what the Hub says of a revision; None where it cannot be reached, and what is in the cache has to do.

    Raises:
        InputError: If the Hub knows no such revision, or the cache has none of it and the Hub cannot be reached.
    """
    from httpx import HTTPError, TransportError

    with telling(f"{name} cannot be pulled"):
        api = hub()
        try:
            return tried(lambda: api.model_info(name.repository, revision=name.revision, files_metadata=True))
        except HTTPError as error:
            if not isinstance(error, TransportError) and not is_passing(error):
                raise
            try:
                _loaded(name, file, limit, cache, local=True)
            except InputError:
                raise error from None
            warn(f"{name}: {why(error)}; the commit of it in the cache is taken")
            return None


def _loaded(name: HubName, file: str, limit: int, cache: Path | None, local: bool = False) -> Path:
    """Return the path of a file in the Hub's cache, where it is loaded if it is not there, unless `local`.

    Raises:
        InputError: If it cannot be loaded, or more bytes come than it can have.
    """
    from huggingface_hub import hf_hub_download

    with telling(f"{name}: {file} cannot be pulled"):
        return Path(
            hf_hub_download(
                name.repository,
                file,
                revision=name.revision,
                cache_dir=cache,
                local_files_only=local,
                tqdm_class=bounded_bar(file, limit),
                library_name="llmrec-peft",
            )
        )
