"""Whether the first row names the columns, and how numbers are written, guessed from rows of a sample."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from llmrec_peft.printable import quoted
from llmrec_peft.tabular.guess import Guess

_NUMBER = re.compile(r"\s*[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?\s*")
_TYPED_NAME = re.compile(r".+:(?:token|token_seq|float|float_seq)")
_NAME = re.compile(r"[^\W\d][\w .:/()\[\]#%-]{0,63}")
_COMMA_NUMBER = re.compile(r"\s*[+-]?\d+,\d+\s*")
_WHOLE = re.compile(r"\s*[+-]?\d+\s*")
_KNOWN = frozenset(
    "user userid user_id user-id uid item itemid item_id item-id iid id movie movieid movie_id title name rating"
    " ratings score stars label timestamp time date asin reviewerid parent_asin product productid product_id genre"
    " genres category categories description text review url price brand artist artistid track trackid book bookid"
    " isbn isbn13 author publisher year age gender sex country city zip head relation tail head_id relation_id"
    " tail_id source target weight count visitorid session session_id sessionid event click clicked impression"
    " news newsid tag tags value video videoid business_id customer_id customer article_id game gameid song hours"
    " plays playcount 用户 用户id 商品 商品id 物品 电影 图书 评分 点击 时间 日期 标题 名称 类别 类型 标签 用戶"
    " 電影 評分 時間 標題 名稱 類別".split()
)
_MOST = 0.95
_USUAL = 0.8


def header_of(rows: Sequence[Sequence[str]]) -> Guess:
    """Return whether the first of some rows is a header."""
    first, below = rows[0], rows[1:]
    typed = [cell for cell in first if _TYPED_NAME.fullmatch(cell.strip())]
    if typed and len(typed) == len(first):
        return Guess(True, f"names such as {quoted(typed[0], 40)} say a type")
    for at, cell in enumerate(first):
        if _NUMBER.fullmatch(cell):
            return Guess(False, f"the first row has the number {quoted(cell.strip(), 40)} in column {at + 1}")
    columns = [[row[at] for row in below if at < len(row) and row[at].strip()] for at in range(len(first))]
    for at, (cell, column) in enumerate(zip(first, columns, strict=True), 1):
        numbers = sum(_NUMBER.fullmatch(one) is not None for one in column)
        if column and numbers >= _MOST * len(column):
            return Guess(True, f"below {quoted(cell.strip(), 40)} in column {at} stand numbers")
    return _by_looks(first, columns)


def _by_looks(first: Sequence[str], columns: Sequence[Sequence[str]]) -> Guess:
    """Return whether the first row looks like the rows below it, which are no numbers."""
    shapes = [Counter(map(_looks, column)).most_common(1)[0] if column else ("", 0) for column in columns]
    patterned = [at for at, (shape, count) in enumerate(shapes) if "9" in shape and count >= _USUAL * len(columns[at])]
    for at in patterned:
        if _looks(first[at]) == shapes[at][0]:
            return Guess(False, f"{quoted(first[at].strip(), 40)} in the first row looks like the cells below it")
    known = [cell for cell in first if re.sub(r"\s", "_", cell.strip().lower()) in _KNOWN]
    if len(known) * 2 >= len(first):
        return Guess(True, f"{quoted(known[0].strip(), 40)} is a usual name of a column")
    if patterned:
        cell = first[patterned[0]].strip()
        return Guess(True, f"{quoted(cell, 40)} looks unlike the cells below it in column {patterned[0] + 1}")
    return _by_words(first, columns, known)


def _by_words(first: Sequence[str], columns: Sequence[Sequence[str]], known: Sequence[str]) -> Guess:
    """Return whether the words of the first row are names, where nothing proves it."""
    if known:
        return Guess(True, f"{quoted(known[0].strip(), 40)} is a usual name of a column", sure=False)
    for at, (cell, column) in enumerate(zip(first, columns, strict=True)):
        if cell.strip() and cell in column:
            return Guess(False, f"{quoted(cell.strip(), 40)} stands in other rows of column {at + 1} too", sure=False)
    named = all(_NAME.fullmatch(cell.strip()) for cell in first) and len(set(first)) == len(first)
    longer = any(
        column and sorted(map(len, column))[len(column) // 2] > 2 * len(cell.strip())
        for cell, column in zip(first, columns, strict=True)
    )
    if named and longer:
        return Guess(True, "the cells of the first row are short and differ, as names do", sure=False)
    return Guess(False, "the first row does not look like names", sure=False)


def _looks(cell: str) -> str:
    """Return the shape of a cell: its kinds of characters, without how many.

    >>> _looks("N34700"), _looks("B005FU5HFI"), _looks("2015-01-02")
    ('A9', 'A9A9A', '9-9-9')
    """
    kinds = ["9" if letter.isdigit() else "A" if letter.isupper() else "a" if letter.isalpha() else letter
             for letter in cell.strip()[:64]]  # fmt: skip
    return "".join(kind for at, kind in enumerate(kinds) if at == 0 or kind != kinds[at - 1])


def decimal_of(rows: Sequence[Sequence[str]], delimiter: str) -> Guess:
    """Return what separates decimals."""
    if delimiter != "," and rows:
        for at in range(len(rows[0])):
            cells = [row[at] for row in rows if at < len(row) and row[at].strip()]
            commas = [cell for cell in cells if _COMMA_NUMBER.fullmatch(cell)]
            whole = sum(_WHOLE.fullmatch(cell) is not None for cell in cells)
            if commas and len(commas) + whole >= _MOST * len(cells):
                thousands = all(re.fullmatch(r"\s*[+-]?[1-9]\d{0,2},\d{3}\s*", cell) for cell in commas)
                return Guess(",", f"column {at + 1} has numbers such as {quoted(commas[0].strip(), 30)}", not thousands)
    return Guess(".", "no number with a decimal comma was seen")
