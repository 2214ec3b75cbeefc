"""Recommender: a trained run in memory; score, recommend, save and load."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmrec_peft.artifact.catalogue_file import FILE as CATALOGUE
from llmrec_peft.artifact.catalogue_file import write_catalogue
from llmrec_peft.artifact.fetched import run_folder
from llmrec_peft.artifact.manifest import Manifest
from llmrec_peft.artifact.seen import Seen, write_seen
from llmrec_peft.artifact.signature import signed_by
from llmrec_peft.artifact.tables import ItemTable, write_items, write_users
from llmrec_peft.backbone.precision import best_device
from llmrec_peft.backbone.remote_code import allowing
from llmrec_peft.backbone.tensor_files import write_tensors
from llmrec_peft.data.histories import Histories
from llmrec_peft.data.vocabulary import Vocabulary
from llmrec_peft.errors import InputError
from llmrec_peft.model import RecModel
from llmrec_peft.printable import shown
from llmrec_peft.recipe import Recipe
from llmrec_peft.run.adding import Addition
from llmrec_peft.run.attached import AttachedRuns
from llmrec_peft.run.canary import evaluating, write_scores
from llmrec_peft.run.catalogue import Recommendations
from llmrec_peft.run.ids import checked_count, checked_histories, text_ids
from llmrec_peft.run.language_model import LanguageModel
from llmrec_peft.run.read_tenant import read_tenant
from llmrec_peft.run.signal_files import write_signals
from llmrec_peft.run.tenant import Tenant, catalogue_of
from llmrec_peft.run.tuned_model import TunedModel
from llmrec_peft.run.vector_precision import write_vectors
from llmrec_peft.run.vectors import ItemVectors, UserVectors, item_vectors, user_vectors

if TYPE_CHECKING:
    from llmrec_peft.backbone.adapter import AdapterMethod
    from llmrec_peft.backbone.load import Backbone


class Recommender(AttachedRuns):
    """Scores and recommends with a trained run, or with one of several on the same base.

    Known items are scored from their stored vectors; the language model is loaded when the first new text comes.
    Further runs can be attached beside the first: each has its own adapter, head, signals, users and items, and all
    share one base in memory.

    It is safe in threads. A call is answered by one run as it was when the call began, whatever other threads do
    meanwhile: switch, attach or detach runs, or add items. `add_items` adds all of its items or none; an item that two
    threads add is added by one of them and refused for the other. Texts are encoded one call at a time, since adapters
    take turns in the shared base; known items are scored in parallel.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: RecModel,
        vocabulary: Vocabulary,
        items: ItemTable,
        vectors: Tensor | None,
        seen: Histories,
        users: Sequence[Mapping[str, Any]] = (),
        user_vectors: Tensor | None = None,
    ) -> None:
        """Assemble the parts of a run that was just trained; usually `from_pretrained` makes a recommender.

        Args:
            recipe: Resolved recipe of the run.
            model: Trained and folded model.
            vocabulary: Known users and items.
            items: Titles, texts and popularity in vocabulary order.
            vectors: Text vectors of all item indices, [num_items, width], index 0 first.
            seen: History of each user index, oldest first.
            users: The owner's columns of each user index, if prompts name them.
            user_vectors: Vectors of users' texts, [num_users, width], if they are read.
        """
        catalogue = catalogue_of(vocabulary, items, vectors)
        tenant = Tenant(
            recipe=recipe,
            model=model.eval(),
            vocabulary=vocabulary,
            items=items,
            catalogue=catalogue,
            seen=seen,
            users=users,
            user_vectors=user_vectors,
        )
        self._begin(tenant, "trained")

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        device: str | torch.device | None = None,
        trust_remote_code: bool = False,
        base: Recommender | None = None,
        *,
        revision: str | None = None,
        verify: str | Path | None = None,
    ) -> Self:
        """Load a run folder after verifying every file that answers against its manifest.

        ``from_pretrained("owner/name", revision="v1")`` pulls a run of the Hugging Face Hub into the user's cache
        first; what lies here under the same name wins.

        Args:
            folder: Run folder, or ``OWNER/NAME`` or ``OWNER/NAME@REVISION`` of the Hub.
            device: Device of the computation; by default the first CUDA device, or the CPU.
            trust_remote_code: Whether Python code that comes with the base model may run, if the run's recipe asks for
                it. The recipe alone cannot allow it, since whoever shared the run wrote it: such a run is refused.
            base: Another recommender, on the same device, whose base model is shared.
            revision: Branch, tag or commit on the Hub; by default the main branch.
            verify: PEM file of a public key; a run that its owner has not signed is refused.

        Raises:
            InputError: If the folder is not a complete run of this version, its base is not that of `base`, the Hub
                cannot be asked, or the signature is missing or another one.
        """
        verified = None if verify is None else signed_by(Path(verify))
        folder = run_folder(folder, revision)
        signed = None if verified is None else verified(folder).digest

        def open_base(manifest: Manifest, recipe: Recipe) -> LanguageModel:
            if base is not None:
                shared = base.language_model
                shared.require(manifest, str(folder))
                shared.require_code(recipe.backbone, str(folder))
                return shared
            return LanguageModel(recipe.backbone, manifest.base, where)

        if base is not None:
            where = base.device
        else:
            where = torch.device(device) if device is not None else best_device()
        with allowing(trust_remote_code):  # whoever shared the run may ask for it in its recipe
            tenant = read_tenant(folder, where, open_base)
        if signed not in (None, tenant.manifest.digest):
            raise InputError(f"{shown(folder)} was replaced after its signature had been verified: load it again")
        recommender = cls.__new__(cls)
        recommender._begin(tenant, tenant.manifest.digest[:12])
        return recommender

    @classmethod
    def of(cls, tenant: Tenant) -> Self:
        """Return a recommender that answers with a run that is in memory already, and shares its parts."""
        recommender = cls.__new__(cls)
        recommender._begin(replace(tenant, notes=()), "in memory")  # whoever loaded it has its notes
        return recommender

    def with_vectors(self, vectors: Tensor) -> Recommender:
        """Return the same run with other vectors of its items' texts, [items of the catalogue, width]."""
        attached, other = self._attached, type(self).__new__(type(self))
        other._begin(replace(attached.tenant.with_vectors(vectors), notes=()), attached.current)
        return other

    def score(
        self,
        users: Sequence[str],
        items: Sequence[str],
        chunk: int = 65_536,
        histories: Sequence[Sequence[tuple[str, float]]] | None = None,
    ) -> NDArray[np.float32]:
        """Predict labels of pairs, by the run's first head.

        Args:
            users: User ids [n]; an unknown one is scored as the average user.
            items: Item ids [n], of the run or added by `add_items`.
            chunk: Pairs per chunk; fewer if histories are read.
            histories: Item ids and labels of each user's history, oldest first; by default the run's own. Only for runs
                that read histories; items that training did not know are left out of them.

        Returns:
            float32 [n]: stars, probabilities, or scores of which only the order matters. A pair's score does not depend
            on the other pairs beyond 1e-6; that of a run in bf16 lies about 0.001 stars from the one in fp32.

        Raises:
            InputError: For an item that is neither known nor added, an id that is no text, a chunk below 1, or
                histories for a run that does not read them.
        """
        if chunk < 1:
            raise InputError(f"chunk must be at least 1, not {chunk:.9g}")
        users, items = text_ids(users, "user"), text_ids(items, "item")
        if len(users) != len(items):
            raise InputError(f"score: {len(users)} users for {len(items)} items")
        told = None if histories is None else checked_histories(histories)
        return self.tenant.pairs(users, items, told, chunk)

    def recommend(self, users: Sequence[str], k: int = 10, seen: bool = False) -> list[Recommendations]:
        """Return the best items of each user.

        Args:
            users: User ids; unknown ones get the popular items, and `Recommendations.basis` says so.
            k: Items per user.
            seen: Whether items of the user's history may be recommended again.

        Raises:
            InputError: If k is below 1, or an id is no text.
        """
        return self.tenant.recommend(text_ids(users, "user"), checked_count(k), seen)

    def add_items(self, rows: Iterable[Mapping[str, Any]]) -> list[str]:
        """Make new items scorable by their texts alone.

        Args:
            rows: For each item ``item_id`` and the columns of the items table that the recipe's item template names,
                and those of its prompt template if it has one. Values are brought to the types that the table has: a
                list may be text such as ``Crime|Drama``, a whole number may be 1995.0, and None, NaN and empty text
                are missing.

        Returns:
            The ids that were added.

        Raises:
            InputError: For a missing column, a value that cannot be brought to the type of its column, an id that is
                known already, or a run without text.
        """
        return self.add_items_to(self.tenant, rows)

    def add_items_to(
        self, tenant: Tenant, rows: Iterable[Mapping[str, Any]], vectors: Tensor | None = None
    ) -> list[str]:
        """Make new items scorable by one of the attached runs, whichever answers now; else as `add_items`.

        Args:
            tenant: The run.
            rows: As in `add_items`.
            vectors: Vectors of their texts, float32 [n, width], if the run's language model has encoded them already.

        Raises:
            InputError: As `add_items`; for vectors that are not one of the run's width for each item.
        """
        rows, tenant = list(rows), self.latest(tenant)
        if not rows:
            return []
        addition = Addition.of(tenant, rows, lambda texts: _tuned(tenant).read_items(texts), vectors)
        with self._changing:  # other threads may have added items meanwhile, and switched or detached runs
            name = self._attached.name_of(tenant)
            if name is None:
                raise InputError("the run was detached while items were added to it")
            self._attached = self._attached.with_tenant(name, addition.onto(self._attached.tenants[name]))
        return addition.ids

    def item_vectors(self) -> ItemVectors:
        """Return vectors of all items, added ones included, for a nearest-neighbour index (`llmrec_peft.retrieval`).

        Raises:
            InputError: If the run's scores are not inner products of a user's and an item's vector.
        """
        return item_vectors(self.tenant)

    def user_vectors(self, users: Sequence[str]) -> UserVectors:
        """Return vectors of users, whose inner products with `item_vectors` are their scores up to a constant per user.

        Raises:
            InputError: If the run's scores are not inner products of a user's and an item's vector, or an id is no
                text.
        """
        return user_vectors(self.tenant, text_ids(users, "user"))

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return vectors of texts from the tuned language model, float32 [len(texts), width]."""
        return _tuned(self.tenant).encode_items(texts)

    def save(
        self,
        folder: Path,
        method: AdapterMethod[Any],
        tuned: torch.nn.Module | None,
        backbone: Backbone | None,
        seen: Seen,
    ) -> None:
        """Write everything that can change an answer into an empty folder, and the users' private interactions.

        Args:
            folder: Folder to fill.
            method: Adapter method, which saves the adapter.
            tuned: Model with the adapter inside; None if no signal reads text.
            backbone: Its frozen model.
            seen: Known interactions of users.
        """
        if tuned is not None and backbone is not None:
            method.save(tuned, backbone, folder)
        tenant, model = self.tenant, self.tenant.model
        fusion = {f"fusion.{name}": tensor for name, tensor in model.fusion.state_dict().items()}
        write_tensors(folder / "head.safetensors", {**model.head_parts.state_dict(), **fusion})
        write_signals(folder, model)
        write_catalogue(folder / CATALOGUE, tenant.vocabulary, tenant.items)
        write_items(folder / "items.parquet", tenant.vocabulary, tenant.items)
        with evaluating(model):
            tenant = write_vectors(folder / "item_vectors.safetensors", tenant)
        write_scores(folder, tenant)
        write_seen(folder / "seen.safetensors", seen, tenant.vocabulary.num_users)
        if tenant.users:
            write_users(folder / "users.parquet", tenant.users[1:])
        (folder / "recipe.yaml").write_text(tenant.recipe.to_yaml(), encoding="utf-8")


def _tuned(tenant: Tenant) -> TunedModel:
    """Return a run's language model.

    Raises:
        InputError: If the run was just trained, not loaded from a run folder.
    """
    if tenant.tuned is None:
        raise InputError("this recommender was not loaded from a run folder")
    return tenant.tuned
