"""TextReader: how one recipe reads texts by one backbone: prompts, lengths, pooling; what the files say, by default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from llmrec_peft.backbone.embedding_model import LONGEST, EmbeddingModel
from llmrec_peft.backbone.encoder import Reading, TextEncoder
from llmrec_peft.data.tokens import TokenTable, count_cut
from llmrec_peft.errors import InputError, nearest

if TYPE_CHECKING:
    from torch import nn

    from llmrec_peft.backbone.base import BaseIdentity
    from llmrec_peft.backbone.dense import DenseLayers
    from llmrec_peft.recipe.sections import BackboneSection, ViewsSection

VIEWS = ("item", "user", "prompt")
"""Kinds of texts."""
_NAMES = {"item": ("document", "passage", "corpus"), "user": ("query",), "prompt": ()}
"""Names under which an embedding model's files keep the prompt for a kind of texts, as sentence-transformers asks."""


class ReadingModel(Protocol):
    """What of a `Backbone` decides how texts are read."""

    tokenizer: Any
    width: int
    kind: Any
    identity: BaseIdentity
    embedding_model: EmbeddingModel | None
    dense: DenseLayers | None

    @property
    def pad_id(self) -> int:
        """Id of the padding token."""

    @property
    def window(self) -> int:
        """Tokens that the model can read at once."""

    def tokenize(self, texts: list[str], max_length: int | None, special: bool = True) -> list[list[int]]:
        """Return the token ids of each text."""


@dataclass(frozen=True)
class TextReader:
    """Texts of a recipe to tokens, and states to vectors.

    Attributes:
        backbone: The model.
        pooling: See `llmrec_peft.backbone.pooling.pool`.
        normalize: Whether vectors are scaled to length 1.
        prompts: Text put before each text, by view.
        skipped: Tokens at the beginning of a text that do not count in pooling, by view.
        cap: Tokens of a text at most, whatever its view allows; None for the model's window.
        notes: What differs from the files, or was read from them, one line each.
    """

    backbone: ReadingModel
    pooling: str
    normalize: bool
    prompts: Mapping[str, str]
    skipped: Mapping[str, int]
    cap: int | None
    notes: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """Return all that changes a text's vector, besides the files' weights, as plain values."""
        files = self.backbone.embedding_model or EmbeddingModel()
        return {
            "pooling": self.pooling,
            "normalize": self.normalize,
            "dense": [[one.inputs, one.outputs, one.bias, one.activation] for one in files.dense],
            "prompts": dict(self.prompts),
            "include_prompt": files.include_prompt,
            "max_length": self.cap,
            "lower_case": files.lower_case,
        }

    def notes_on(self, views: ViewsSection, user: bool, prompt: bool) -> list[str]:
        """Return what is to be said of the texts that are read, one line each.

        Args:
            views: Views of the recipe.
            user: Whether users' texts are read.
            prompt: Whether prompts are read.
        """
        lines = list(self.notes)
        given = {"item": views.item, "user": views.user if user else None, "prompt": views.prompt if prompt else None}
        for view, section in given.items():
            if section is None:
                continue
            if self.prompts[view]:
                lines.append(f"backbone.prompts.{view}: texts are read after {self.prompts[view]!r}")
            if self.cap is not None and section.max_length > self.cap:
                name = self.backbone.identity.name
                lines.append(f"views.{view}.max_length: {self.cap}, the tokens that {name} was made for")
        return lines

    @property
    def width(self) -> int:
        """Width of vectors."""
        dense = self.backbone.dense
        return self.backbone.width if dense is None else dense.width

    def reading(self, view: str = "item") -> Reading:
        """Return how states of a view's texts become vectors."""
        return Reading(self.pooling, self.normalize, self.backbone.dense, self.skipped[view])

    def length(self, max_length: int) -> int:
        """Return the tokens of a text at most: the view's, or the model's where those are fewer."""
        return max_length if self.cap is None else min(max_length, self.cap)

    def tokenized(self, texts: Sequence[str], max_length: int, view: str = "item") -> TokenTable:
        """Tokenize texts after the prompt of their view, each distinct one once.

        Args:
            texts: Texts without the prompt.
            max_length: Tokens kept per text, the prompt's included.
            view: Kind of the texts.
        """
        prompt, length = self.prompts[view], self.length(max_length)
        whole = [prompt + text for text in texts] if prompt else list(texts)
        return TokenTable.of(whole, lambda some: self.backbone.tokenize(some, length), self.backbone.pad_id)

    def count_cut(self, texts: Sequence[str], tokens: TokenTable, max_length: int, view: str = "item") -> int:
        """Return how many of the texts that `tokenized` was given, with the same arguments, lost their end."""
        prompt, length = self.prompts[view], self.length(max_length)
        return count_cut(
            texts, tokens, length, lambda some: self.backbone.tokenize([prompt + text for text in some], None)
        )

    def encoder(
        self, model: nn.Module, frozen: list[nn.Module], further: Sequence[Reading] = (), **fields: Any
    ) -> TextEncoder:
        """Return an encoder of items' texts, and of further kinds of texts, see `TextEncoder`."""
        own = self.reading()
        rest = {"dense": own.dense, "skipped": own.skipped, **fields}
        return TextEncoder(model, frozen, own.pooling, own.normalize, further=further, **rest)


def text_reader(backbone: ReadingModel, section: BackboneSection) -> TextReader:
    """Resolve a recipe's section by what the backbone's files say.

    Raises:
        InputError: For a prompt that is not there or leaves no room, and a pooling that cannot work.
    """
    files = backbone.embedding_model
    said = files or EmbeddingModel(normalize=True)
    published, pooling = said.pooling or "mean", pooling_of(section, files)
    normalize = said.normalize if section.normalize == "auto" else section.normalize
    if pooling == "cls" and backbone.kind == "decoder":
        raise InputError(
            "backbone.pooling: cls reads a decoder's first token, which has seen nothing of the text: take mean or"
            " last-token"
        )
    notes = []
    if files is not None:
        if pooling != published:
            notes.append(f"backbone.pooling: {pooling}, where the model's own files say {published}")
        if normalize != said.normalize:
            scaled = "scaled to length 1" if normalize else "not scaled to length 1"
            notes.append(f"backbone.normalize: vectors are {scaled}, unlike the model's own files say")
    prompts = {view: prompt_of(view, section, files) for view in VIEWS}
    cap = None if files is None else _cap(files, backbone)
    skipped = {}
    for view, prompt in prompts.items():
        tokens = _prompt_tokens(backbone, prompt)
        if cap is not None and tokens + 2 > cap:
            raise InputError(
                f"backbone.prompts.{view}: takes {tokens} of the {cap} tokens that the model reads at once"
            )
        skipped[view] = 0 if said.include_prompt else tokens
    return TextReader(backbone, pooling, normalize, prompts, skipped, cap, tuple(notes))


def pooling_of(section: BackboneSection, files: EmbeddingModel | None) -> str:
    """Return the pooling that a recipe asks for, or else the files, or else the mean."""
    published = "mean" if files is None or files.pooling is None else files.pooling
    return published if section.pooling == "auto" else section.pooling


def prompt_of(view: str, section: BackboneSection, files: EmbeddingModel | None) -> str:
    """Return the text before a view's texts: the recipe's, that of the name it gives, or that of the usual name.

    Raises:
        InputError: For a name that the files do not have.
    """
    said = files or EmbeddingModel()
    given, name = getattr(section.prompts, view), getattr(section.prompt_names, view)
    if given is not None:
        return str(given)
    if name is not None and name not in said.prompts:
        known = nearest(name, tuple(said.prompts)) if said.prompts else "its files have none"
        raise InputError(f"backbone.prompt_names.{view}: the model has no prompt {name!r}: {known}")
    if name is None:
        name = _usual_name(view, said)
    return "" if name is None else said.prompts[name]


def _usual_name(view: str, said: EmbeddingModel) -> str | None:
    """Return the name of the prompt for a view; an empty one may be a placeholder that was saved with the others."""
    found = next((usual for usual in _NAMES[view] if said.prompts.get(usual)), None)
    others = {name for other, names in _NAMES.items() for name in names if other != view}
    if found is None and view != "prompt" and said.default_prompt not in others:
        return said.default_prompt
    return found


def _cap(files: EmbeddingModel, backbone: ReadingModel) -> int | None:
    """Return the length that an embedding model was published with; newer folders keep it with the tokenizer."""
    length = files.max_length or getattr(backbone.tokenizer, "model_max_length", None)
    return min(int(length), backbone.window) if length and length <= LONGEST else None


def _prompt_tokens(backbone: ReadingModel, prompt: str) -> int:
    """Return the tokens of a prompt in front of a text: special tokens before it count, one after it does not."""
    if not prompt:
        return 0
    ids = backbone.tokenize([prompt], None)[0]
    return len(ids) - (ids[-1] in set(backbone.tokenizer.all_special_ids))


def lower_cased(tokenizer: Any) -> None:
    """Let a tokenizer lower-case each text before anything else, as sentence-transformers does for `do_lower_case`.

    Raises:
        InputError: For a tokenizer in plain Python.
    """
    from tokenizers.normalizers import Lowercase, Sequence

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise InputError("backbone: do_lower_case cannot be run with a tokenizer that has no tokenizer.json")
    own = backend.normalizer
    backend.normalizer = Lowercase() if own is None else Sequence([Lowercase(), own])
