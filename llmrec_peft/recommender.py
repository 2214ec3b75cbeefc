"""Recommender: a trained run in memory; score, recommend, save and load."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmrec_peft import registry
from llmrec_peft.artifact.manifest import Manifest, read_manifest
from llmrec_peft.artifact.tables import (
    ItemTable,
    read_items,
    read_seen,
    read_vocabulary,
    write_items,
    write_seen,
    write_vocabulary,
)
from llmrec_peft.artifact.tensors import load_into, read_tensors, write_tensors
from llmrec_peft.backbone.encoder import TextEncoder
from llmrec_peft.backbone.load import load_backbone, same_base
from llmrec_peft.backbone.precision import best_device
from llmrec_peft.catalogue import Catalogue, Recommendations, ScoredItem
from llmrec_peft.data.batches import Batch
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.tokens import TokenTable
from llmrec_peft.data.views import ViewTemplate
from llmrec_peft.data.vocabulary import UNKNOWN, Vocabulary
from llmrec_peft.errors import InputError
from llmrec_peft.heads.contract import HeadContext
from llmrec_peft.model import RecModel, build_head
from llmrec_peft.recipe import Recipe
from llmrec_peft.recipe_yaml import read_yaml
from llmrec_peft.signals.contract import SignalContext

if TYPE_CHECKING:
    from llmrec_peft.backbone.adapter import AdapterMethod
    from llmrec_peft.backbone.load import Backbone


class Recommender:
    """Scores and recommends with a trained run.

    Known items are scored from their stored vectors; the language model is loaded when the first new text
    comes.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: RecModel,
        vocabulary: Vocabulary,
        items: ItemTable,
        vectors: Tensor | None,
        seen: list[NDArray[np.int64]],
        folder: Path | None = None,
        manifest: Manifest | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        """Put the parts together; `from_pretrained` is the usual way.

        Args:
            recipe: Resolved recipe of the run.
            model: Trained and folded model.
            vocabulary: Known users and items.
            items: Titles, texts and popularity in vocabulary order.
            vectors: Text vectors of all item indices, [num_items, width], index 0 first.
            seen: Item indices that each user index has met.
            folder: Run folder, for loading the language model later.
            manifest: The folder's manifest.
            trust_remote_code: Whether Python code of the base model may run, whatever the recipe says.
        """
        self.recipe = recipe
        self.model = model.eval()
        self.vocabulary = vocabulary
        self.items = items
        self.manifest = manifest
        self._seen = seen
        self._folder = folder
        self._trust_remote_code = trust_remote_code
        self._language_model: tuple[Backbone, TextEncoder] | None = None
        self.catalogue = Catalogue(
            ids=list(vocabulary.items),
            titles=list(items.titles),
            table_index=np.arange(1, vocabulary.num_items, dtype=np.int64),
            popularity=items.popularity,
            vectors=None if vectors is None else vectors[1:],
        )

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, device: str | torch.device | None = None, trust_remote_code: bool = False
    ) -> Recommender:
        """Load a run folder after verifying every file against its manifest.

        Args:
            folder: Run folder.
            device: Where to compute; the first CUDA device or the CPU by default.
            trust_remote_code: Run Python code that comes with the base model. A run's own recipe cannot ask
                for it: whoever shared the run wrote that recipe.

        Raises:
            InputError: When the folder is not a whole run of this version.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        recipe = Recipe.from_plain(read_yaml(folder / "recipe.yaml"), where=str(folder / "recipe.yaml"))
        vocabulary = read_vocabulary(folder / "vocabulary.parquet")
        where = torch.device(device) if device is not None else best_device()
        model = _load_model(folder, recipe, vocabulary)
        stored = read_tensors(folder / "item_vectors.safetensors")
        vectors = stored["text"].to(where) if "text" in stored else None
        return cls(
            recipe,
            model.to(where),
            vocabulary,
            read_items(folder / "items.parquet"),
            vectors,
            read_seen(folder / "seen.parquet", vocabulary.num_users),
            folder,
            manifest,
            trust_remote_code,
        )

    @property
    def device(self) -> torch.device:
        """Where scores are computed."""
        return self.model.device

    def score(self, users: Sequence[str], items: Sequence[str], chunk: int = 65_536) -> NDArray[np.float32]:
        """Predicted labels of pairs.

        Args:
            users: User ids [n]; an unknown one is scored as the average user.
            items: Item ids [n], of the run or added by `add_items`.
            chunk: Pairs at a time.

        Returns:
            float32 [n].

        Raises:
            InputError: For an item that is neither known nor added.
        """
        if len(users) != len(items):
            raise InputError(f"score: {len(users)} users for {len(items)} items")
        unknown = next((item for item in items if item not in self.catalogue.row_of), None)
        if unknown is not None:
            raise InputError(f"unknown item {unknown!r}: add its text first (Recommender.add_items)")
        rows = np.fromiter((self.catalogue.row_of[item] for item in items), np.int64, len(items))
        user = self.vocabulary.user_indices(users)
        parts = [self._score(user[at : at + chunk], rows[at : at + chunk]) for at in range(0, len(rows), chunk)]
        return np.concatenate(parts) if parts else np.empty(0, np.float32)

    def recommend(self, users: Sequence[str], k: int = 10, seen: bool = False) -> list[Recommendations]:
        """The best items of each user.

        Args:
            users: User ids; unknown ones get the popular items, and the answer says so.
            k: Items each.
            seen: Whether items that the user has met may come up again.

        Raises:
            InputError: When k is below 1.
        """
        if k < 1:
            raise InputError(f"k must be at least 1, not {k}")
        return [self._recommend(user, k, seen) for user in users]

    def add_items(self, rows: Iterable[Mapping[str, Any]]) -> list[str]:
        """Make items scorable by their texts alone.

        Args:
            rows: For each item ``item_id`` and the columns that the recipe's item template names.

        Returns:
            The ids that were added.

        Raises:
            InputError: For a missing column, an id that is known already, or a run without text.
        """
        given = list(rows)
        if not given:
            return []
        if self.catalogue.vectors is None:
            raise InputError("this run does not read texts: an item without ratings cannot be scored")
        template = ViewTemplate(self.recipe.views.item.template)
        ids = [str(row.get("item_id", "")) for row in given]
        for at, item in enumerate(ids):
            if not item:
                raise InputError("a new item has no item_id")
            if item in self.catalogue.row_of or item in ids[:at]:
                raise InputError(f"item {item!r} is known already")
        texts = template.render_all(given)
        vectors = self.encode(texts)
        old = self.catalogue
        self.catalogue = Catalogue(
            ids=[*old.ids, *ids],
            titles=[*old.titles, *(str(row.get("title") or text) for row, text in zip(given, texts, strict=True))],
            table_index=np.append(old.table_index, np.full(len(ids), UNKNOWN, np.int64)),
            popularity=np.append(old.popularity, np.zeros(len(ids), np.int64)),
            vectors=torch.cat([self.catalogue.vectors, vectors.to(self.device)]),
        )
        return ids

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Vectors of texts from the tuned language model, float32 [len(texts), width]."""
        backbone, encoder = self._loaded_language_model()
        length = self.recipe.views.item.max_length
        table = TokenTable.of(list(texts), lambda some: backbone.tokenize(some, length), backbone.pad_id)
        with torch.no_grad():
            distinct = encoder.encode(np.arange(table.num_distinct), table)
        return distinct[torch.as_tensor(table.row_of, device=distinct.device)]

    def save(
        self,
        folder: Path,
        method: AdapterMethod[Any],
        tuned: torch.nn.Module | None,
        backbone: Backbone | None,
        seen: Interactions,
    ) -> None:
        """Write everything that can change an answer into an empty folder, and the private seen pairs.

        Args:
            folder: Folder to fill.
            method: Adapter method that saves itself.
            tuned: Model with the adapter inside; None where no signal reads text.
            backbone: Its frozen model.
            seen: Interactions that were trained on.
        """
        if tuned is not None and backbone is not None:
            method.save(tuned, backbone, folder)
        write_tensors(folder / "head.safetensors", self.model.head_parts.state_dict())
        write_tensors(folder / "signals.safetensors", self.model.signal_parts.state_dict())
        write_vocabulary(folder / "vocabulary.parquet", self.vocabulary)
        write_items(folder / "items.parquet", self.vocabulary, self.items)
        vectors = self.catalogue.vectors
        unknown = {} if vectors is None else {"text": torch.cat([torch.zeros_like(vectors[:1]), vectors])}
        write_tensors(folder / "item_vectors.safetensors", unknown)
        write_seen(folder / "seen.parquet", seen)
        (folder / "recipe.yaml").write_text(self.recipe.to_yaml(), encoding="utf-8")

    def _score(self, user: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        vectors = self.catalogue.vectors
        device = self.device
        batch = Batch(
            user=torch.from_numpy(user).to(device),
            item=torch.from_numpy(self.catalogue.table_index[rows]).to(device),
            item_text=None if vectors is None else vectors[torch.from_numpy(rows).to(device)],
        )
        with torch.no_grad():
            scores: NDArray[np.float32] = self.model(batch).scores.float().cpu().numpy()
        return scores

    def _recommend(self, user_id: str, k: int, seen: bool) -> Recommendations:
        user = int(self.vocabulary.user_indices([user_id])[0])
        rows = np.arange(len(self.catalogue.ids), dtype=np.int64)
        if not seen:
            rows = rows[
                ~np.isin(self.catalogue.table_index, self._seen[user]) | (self.catalogue.table_index == UNKNOWN)
            ]
        scores = self._score(np.full(len(rows), user, np.int64), rows)
        personal = user != UNKNOWN
        key = scores if personal else self.catalogue.popularity[rows]
        best = np.argsort(-key, kind="stable")[:k]
        chosen = tuple(
            ScoredItem(self.catalogue.ids[rows[at]], self.catalogue.titles[rows[at]], round(float(scores[at]), 4))
            for at in best
        )
        return Recommendations(user_id, "personal" if personal else "popularity", chosen)

    def _loaded_language_model(self) -> tuple[Backbone, TextEncoder]:
        """Load the base model on first use, refuse another than the run's, put the adapter in."""
        if self._language_model is None:
            if self._folder is None or self.manifest is None:
                raise InputError("this recommender was not loaded from a run folder")
            # who shared the run asked for remote code, not who uses it
            section = self.recipe.backbone.model_copy(update={"trust_remote_code": self._trust_remote_code})
            computed = self.manifest.base.get("compute")
            if section.precision == "auto" and computed:
                section = section.model_copy(update={"precision": computed})
            backbone = load_backbone(section, self.device)
            same_base(backbone.identity, self.manifest.base.get("weights_sha256"), "run")
            frozen = list(backbone.model.modules())
            method = registry.get("adapters", self.recipe.adapter.method)(self.recipe.adapter.config)
            tuned = method.load(backbone, self._folder)
            empty = TokenTable.of([], lambda some: [], backbone.pad_id)
            encoder = TextEncoder(tuned, frozen, empty, section.pooling, section.normalize, None)
            self._language_model = (backbone, encoder.to(self.device).eval())
        return self._language_model


def _load_model(folder: Path, recipe: Recipe, vocabulary: Vocabulary) -> RecModel:
    """Build signals and head in the sizes of the saved tensors and fill them."""
    saved = read_tensors(folder / "signals.safetensors")
    signals = {}
    for name, options in recipe.signals.active.items():
        own = {key.removeprefix(f"{name}."): t for key, t in saved.items() if key.startswith(f"{name}.")}
        signal = registry.get("signals", name)(options)
        context = SignalContext(vocabulary.num_users, vocabulary.num_items, recipe.fusion.dim, None, None, None, own)
        try:
            signal.parts = signal.build(context)
        except KeyError as error:
            raise InputError(f"{folder / 'signals.safetensors'}: tensor {name}.{error.args[0]} is missing") from None
        signals[name] = signal
    head = build_head(recipe, HeadContext(recipe.fusion.dim, 0.0, (0.0, 0.0)))
    model = RecModel(signals, head, None)
    load_into(model.signal_parts, saved, folder / "signals.safetensors")
    load_into(model.head_parts, read_tensors(folder / "head.safetensors"), folder / "head.safetensors")
    return model
