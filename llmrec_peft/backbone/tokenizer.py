"""Tokenizer of a backbone: loaded without foreign code, and refused where it has ids that the model does not embed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmrec_peft.errors import InputError


def unknown_id(tokenizer: Any) -> int | None:
    """Return the token that stands for what a vocabulary lacks; None where it has one of another meaning or none."""
    found = getattr(tokenizer, "unk_token_id", None)
    others = (getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "eos", "pad", "cls", "sep"))
    return None if found is None or found in others else int(found)


def load_tokenizer(folder: Path, remote: bool = False) -> Any:
    """Load the tokenizer in a folder; texts are padded on the right, as `TokenTable` pads them.

    Args:
        folder: Folder of the model.
        remote: Whether Python code that comes with it may run; never asked for at a terminal.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=remote)
    tokenizer.padding_side = "right"  # a token's position is its place in the text
    return tokenizer


def embedded_rows(model: Any) -> int:
    """Return the rows of a model's input embedding, or of its configuration where the class does not say which it is.

    transformers raises NotImplementedError for an architecture that names no input embedding.
    """
    try:
        return int(model.get_input_embeddings().num_embeddings)
    except (AttributeError, NotImplementedError):
        return int(model.config.get_text_config().vocab_size)


def require_embedded(tokenizer: Any, rows: int, name: str) -> None:
    """Refuse a tokenizer with words that the model's embedding has no row for.

    Tokens were added and the embedding was not resized; the first text with such a token would end in an index error.
    Special tokens are let pass here, as many published tokenizers have some that no text uses; `require_rows` refuses a
    text that does.

    Args:
        tokenizer: The tokenizer.
        rows: Rows of the model's input embedding.
        name: Name of the backbone, for messages.

    Raises:
        InputError: With both sizes and the first such token.
    """
    vocabulary = tokenizer.get_vocab()
    ids = vocabulary.values()
    if not ids or 0 <= min(ids) <= max(ids) < rows:
        return
    special = set(tokenizer.all_special_ids)
    beyond = [(index, token) for token, index in vocabulary.items() if not 0 <= index < rows]
    beyond = sorted((index, token) for index, token in beyond if index not in special)
    if beyond:
        index, token = beyond[0]
        raise InputError(
            f"backbone {name}: the tokenizer has {len(tokenizer)} tokens, the model embeds {rows}: {str(token)[:40]!r}"
            f" has id {index}; take the tokenizer that the model was saved with"
        )


def require_rows(texts: Sequence[Sequence[int]], rows: int, name: str) -> None:
    """Refuse texts with a token id that the model's embedding has no row for.

    Args:
        texts: Token ids of each text.
        rows: Rows of the model's input embedding.
        name: Name of the backbone, for messages.

    Raises:
        InputError: With the first such id.
    """
    if max((max(text, default=0) for text in texts), default=0) >= rows:
        at, index = next((at, index) for at, text in enumerate(texts) for index in text if index >= rows)
        raise InputError(
            f"backbone {name}: text {at + 1} of {len(texts)} has the token id {index}, the model embeds {rows}: its"
            " tokenizer has a special token that the model does not"
        )
