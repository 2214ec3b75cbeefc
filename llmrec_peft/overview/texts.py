"""Texts described: how long they are in characters and tokens, what would be cut, and in which scripts they are."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.errors import InputError
from llmrec_peft.overview.interactions import spread
from llmrec_peft.progress import SILENT, Progress
from llmrec_peft.recipe import Recipe

SAMPLE = 100_000
"""Distinct texts that are tokenized and whose characters are looked at; of more, so many are drawn."""
_LONGEST = 20_000
"""Characters of a text that are looked at; no model here reads further."""
_AT_ONCE = 2048
"""Texts that are tokenized together."""
_MARKUP = re.compile(r"&(?:#\d+|#x[0-9a-fA-F]+|[a-zA-Z]{2,8});|</?[a-zA-Z][^<>]{0,200}>?")
"""Entities and tags that a web page left behind."""
_SCRIPTS = {"CJK": "Han", "FULLWIDTH": "Latin", "HALFWIDTH": "Katakana"}
"""Scripts whose characters are not called by their script's name."""
_NO_SCRIPT = frozenset(
    ("MODIFIER", "MATHEMATICAL", "FEMININE", "MASCULINE", "MICRO", "DOUBLE-STRUCK", "SCRIPT", "VULGAR")
)
"""First words of names of letters that belong to no one script."""


def describe_texts(texts: Sequence[str]) -> dict[str, Any]:
    """Describe the texts of items: how many there are, how long they are, and in which script each mostly is.

    Args:
        texts: Text of each item, empty for none.
    """
    distinct = list(dict.fromkeys(text for text in texts if text))
    looked_at = [text[:_LONGEST] for text in drawn(distinct)]
    return {
        "items": len(texts),
        "without_text": sum(not text for text in texts),
        "distinct": len(distinct),
        "characters": spread(np.fromiter((len(text) for text in distinct), np.int64, len(distinct))),
        "looked_at": len(looked_at),
        "with_markup": sum(_MARKUP.search(text) is not None for text in looked_at),
        "scripts": _scripts(looked_at),
    }


def describe_tokens(recipe: Recipe, texts: Sequence[str], progress: Progress = SILENT) -> dict[str, Any]:
    """Describe the texts of items in tokens of the recipe's own tokenizer, special tokens and prompt included.

    Args:
        recipe: Names the base model.
        texts: Text of each item.
        progress: Where a bar is shown.

    Returns:
        Lengths before anything is cut, the tokens that are kept, how many texts lose their end, and which share of all
        tokens stands for what the vocabulary lacks; or why nothing can be said, as ``unknown``, where the base model is
        not at hand.
    """
    try:
        lengths, kept, unknown = _token_lengths(
            recipe, drawn(list(dict.fromkeys(text for text in texts if text))), progress
        )
    except InputError as error:
        return {"unknown": str(error)}
    cut = int((lengths > kept).sum())
    share = round(cut / len(lengths), 4) if len(lengths) else 0.0
    told = {"kept": kept, "cut": cut, "share_cut": share, "looked_at": len(lengths)}
    return {**spread(lengths), **told, "share_unknown": round(unknown / max(1, int(lengths.sum())), 4)}


def drawn(texts: Sequence[str]) -> Sequence[str]:
    """Return all texts, or `SAMPLE` of them, the same at each call."""
    if len(texts) <= SAMPLE:
        return texts
    rows = np.random.default_rng(0).choice(len(texts), SAMPLE, replace=False)
    return [texts[row] for row in np.sort(rows).tolist()]


def _token_lengths(recipe: Recipe, texts: Sequence[str], progress: Progress) -> tuple[NDArray[np.int64], int, int]:
    """Return the tokens of each text, int64 [n], how many of them are kept, and how many tokens are unknown in all."""
    from llmrec_peft.backbone.base_files import CONFIG, read_config
    from llmrec_peft.backbone.embedding_model import read_embedding_model
    from llmrec_peft.backbone.locate import locate
    from llmrec_peft.backbone.quiet import quiet_transformers, refused_in_one_line
    from llmrec_peft.backbone.remote_code import decided
    from llmrec_peft.backbone.text_reader import prompt_of
    from llmrec_peft.backbone.tokenizer import load_tokenizer, unknown_id

    section = recipe.backbone
    folder = locate(section.name, section.revision).folder
    with refused_in_one_line(f"backbone {section.name}"):
        tokenizer = load_tokenizer(folder, decided(section))
    files = read_embedding_model(folder)
    before = prompt_of("item", section, files)
    lengths: list[int] = []
    unknown, stands_for_it = 0, unknown_id(tokenizer)
    with quiet_transformers(), progress.bar("tokenizing", len(texts)) as bar:  # longer texts than the window are meant
        for at in range(0, len(texts), _AT_ONCE):
            some = [before + text[:_LONGEST] for text in texts[at : at + _AT_ONCE]]
            rows = _ids(tokenizer, some)
            lengths += map(len, rows)
            unknown += 0 if stands_for_it is None else sum(row.count(stands_for_it) for row in rows)
            bar.advance(len(some))
    window = read_config(folder / CONFIG).get("max_position_embeddings")
    limits = (recipe.views.item.max_length, None if files is None else files.max_length, window)
    kept = min(limit for limit in limits if isinstance(limit, int) and limit > 0)
    return np.asarray(lengths, np.int64), kept, unknown


def _ids(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Return the tokens of each text; straight from the tokenizer's core, which takes a third of the time."""
    core = getattr(tokenizer, "backend_tokenizer", None)
    if core is None:
        rows: list[list[int]] = tokenizer(texts)["input_ids"]
        return rows
    core.no_truncation()
    core.no_padding()
    return [encoded.ids for encoded in core.encode_batch_fast(texts)]


def _scripts(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Return how many texts are mostly in each script, the commonest first; texts without letters have none."""
    if not texts:
        return []
    joined = "".join(texts).encode("utf-32-le", "surrogatepass")
    points, place = np.unique(np.frombuffer(joined, np.uint32), return_inverse=True)
    names = [script_of(chr(point)) for point in points.tolist()]
    scripts = sorted({name for name in names if name})
    number = {name: at for at, name in enumerate(scripts, start=1)}
    of_character = np.array([number.get(name or "", 0) for name in names], np.int64)[place]
    of_text = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    counts = np.bincount(of_text * (len(scripts) + 1) + of_character, minlength=len(texts) * (len(scripts) + 1))
    letters = counts.reshape(len(texts), -1)[:, 1:]
    if not letters.shape[1]:
        return [{"script": "none", "texts": len(texts), "share": 1.0}]
    most = np.where(letters.sum(1) > 0, letters.argmax(1) + 1, 0)
    found = np.bincount(most, minlength=len(scripts) + 1)
    rows = [
        {"script": name, "texts": int(count), "share": round(int(count) / len(texts), 4)}
        for name, count in zip(["none", *scripts], found, strict=True)
        if count
    ]
    return sorted(rows, key=lambda row: -row["texts"])


def script_of(character: str) -> str | None:
    """Return the script of a letter, from its name in Unicode; None for what is no letter or of no one script.

    >>> [script_of(character) for character in "aß東かЖ5!"]
    ['Latin', 'Latin', 'Han', 'Hiragana', 'Cyrillic', None, None]
    """
    if not unicodedata.category(character).startswith("L"):
        return None
    first = unicodedata.name(character, "").split(" ")[0]
    if not first or first in _NO_SCRIPT:
        return None
    return _SCRIPTS.get(first, first.title())
