"""Tokenizer of a backbone: loaded without foreign code, and refused where it has ids that the model does not embed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmrec_peft.errors import InputError


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


def require_embedded(tokenizer: Any, rows: int, name: str) -> None:
    """Refuse a tokenizer that can give an id which the model's embedding has no row for.

    Tokens were added and the embedding was not resized; the first text with such a token would end in an index error.

    Args:
        tokenizer: The tokenizer.
        rows: Rows of the model's input embedding.
        name: Name of the backbone, for messages.

    Raises:
        InputError: With both sizes and the first such token.
    """
    beyond = sorted((index, token) for token, index in tokenizer.get_vocab().items() if not 0 <= index < rows)
    if beyond:
        index, token = beyond[0]
        raise InputError(
            f"backbone {name}: the tokenizer has {len(tokenizer)} tokens, the model embeds {rows}: {str(token)[:40]!r} has"
            f" id {index}; take the tokenizer that the model was saved with"
        )
