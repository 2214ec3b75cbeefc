"""Word overlap: the cosine of items' words, each word weighted by how rare it is, for the most similar items."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from llmrec_peft.errors import InputError
from llmrec_peft.signals.parts.item_links import strongest

COMMON = 1_000
"""Items that a word joins, at most: more common words say little, and comparing all their items takes long."""
ROWS = 1024
"""Items that are compared with all others at a time."""
_WORD = re.compile(r"[぀-ヿ㐀-鿿가-힯豈-﫿]|[^\W_]+?(?=[぀-ヿ㐀-鿿가-힯豈-﫿]|\b|_)")


def words_of(text: str) -> list[str]:
    """Split a text into words in lower case; Chinese, Japanese and Korean characters are words of their own.

    >>> words_of("Avery CD-Labels, 40 白色")
    ['avery', 'cd', 'labels', '40', '白', '色']
    """
    return _WORD.findall(text.lower())


def shared_words(columns: Mapping[str, Sequence[Any]], pairs: bool, most: int) -> sparse.csr_matrix:
    """Compare the words of items.

    Args:
        columns: Texts, lists of texts, or None, item by item from index 1.
        pairs: Whether two adjacent words are a word, too.
        most: Items that are kept for each item, the most similar.

    Returns:
        Cosines, float32 [num_items, num_items], row and column 0 empty; an item with words has 1 with itself.

    Raises:
        InputError: For a column that holds something else.
    """
    size = 1 + max(map(len, columns.values()))
    numbers: dict[str, int] = {}
    begin, column = [0, 0], list[int]()
    for at in range(size - 1):
        found = {word for name, values in columns.items() for word in _words(name, values[at], pairs)}
        column += sorted(numbers.setdefault(word, len(numbers)) for word in found)
        begin.append(len(column))
    index = np.array(column, np.int64)
    often = np.bincount(index, minlength=len(numbers))
    weight = np.log((size - 1) / np.maximum(often, 1))[index].astype(np.float32)
    whole = sparse.csr_matrix((weight, index, begin), shape=(size, max(1, len(numbers))))
    length = np.sqrt(np.asarray(whole.multiply(whole).sum(1)).ravel())
    unit = sparse.diags_array(1.0 / np.maximum(length, 1e-9), format="csr").astype(np.float32) @ whole
    joining = unit[:, often <= COMMON] if numbers else unit
    return _most_alike(joining.tocsr(), most)


def _most_alike(unit: sparse.csr_matrix, most: int) -> sparse.csr_matrix:
    """Return the products of the rows of a matrix, of each row the `most` largest."""
    turned, pieces = unit.T.tocsr(), []
    for at in range(0, unit.shape[0], ROWS):
        alike = (unit[at : at + ROWS] @ turned).tocsr()
        alike.sort_indices()
        chosen = strongest(alike, most)
        row = np.repeat(np.arange(alike.shape[0]), np.diff(alike.indptr))[chosen]
        begin = np.searchsorted(row, np.arange(alike.shape[0] + 1))
        pieces.append(sparse.csr_matrix((alike.data[chosen], alike.indices[chosen], begin), shape=alike.shape))
    joined: sparse.csr_matrix = sparse.vstack(pieces, format="csr")
    return joined


def _words(name: str, value: Any, pairs: bool) -> Iterable[str]:
    """Return the words of one item's column, and its pairs of adjacent words."""
    if value is None:
        return
    for text in [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else [None]:
        if not isinstance(text, str):
            raise InputError(f"signals.words.columns: {name!r} holds {str(value)[:40]!a} where texts belong")
        words = words_of(text)
        yield from words
        if pairs:
            yield from (f"{one} {other}" for one, other in itertools.pairwise(words))
