"""Titles of MicroLens' videos: which of several files is read, by the language that its titles are in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llmrec_peft.plugins import InputError
from llmrec_recipes.text_files import listed, required_file, text_lines

Language = Literal["en", "zh"]
PATTERN = "*_title*.csv"
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003134f]")
_LONGEST = 10_000
"""Most characters of a title that is read."""
_NAMES = {"en": "English", "zh": "Chinese"}


@dataclass(frozen=True)
class Titles:
    """Titles of one file.

    Attributes:
        of: Title of each video by id, empty where the file has none.
        language: Language that they are in.
        file: Name of the file.
    """

    of: dict[str, str]
    language: Language
    file: str


def read_titles(folder: Path, language: Literal["en", "zh", "auto"]) -> Titles:
    """Read the file of titles in a language.

    The files of a folder that are called ``*_title*.csv`` are read, and their titles say the language: Chinese where
    most of them have Chinese characters.

    Args:
        folder: Folder in the owner's layout.
        language: Language that is asked for; ``auto`` for that of the only file, or English where there are both.

    Raises:
        InputError: Where no file has the language, or two have it, and for a broken line.
    """
    names = sorted(entry.name for entry in folder.iterdir() if entry.match(PATTERN)) if folder.is_dir() else []
    if not names:
        required_file(folder, PATTERN)
    found: dict[Language, Titles] = {}
    for name in names:
        titles = _read(required_file(folder, name))
        if titles.language in found:
            raise InputError(
                f"{folder}: two files have {_NAMES[titles.language]} titles, keep one of them:"
                f" {listed(folder, PATTERN)}"
            )
        found[titles.language] = titles
    if language == "auto":
        return found["en"] if "en" in found else found["zh"]
    if language not in found:
        other = found["zh" if language == "en" else "en"]
        raise InputError(
            f"data.options.language: {folder} has no {_NAMES[language]} titles, only {_NAMES[other.language]} ones, in"
            f" {listed(folder, PATTERN)}"
        )
    return found[language]


def _read(path: Path) -> Titles:
    """Read ``item,title`` of each line, without a header or below one; a title may hold commas and quotes."""
    titles: dict[str, str] = {}
    for line, text in text_lines(path):
        item, comma, title = text.partition(",")
        if not text or (line == 1 and item == "item"):
            continue
        if not comma:
            raise InputError(f"{path}, line {line}: no comma between item and title: {text[:40]!a}")
        if not (item.isascii() and item.isdigit()):
            raise InputError(f"{path}, line {line}: item {item[:20]!a} is no number of digits")
        if item in titles:
            raise InputError(f"{path}, line {line}: item {item} is there twice")
        if len(title) > _LONGEST:
            raise InputError(f"{path}, line {line}: title has {len(title)} characters, more than {_LONGEST}")
        titles[item] = _unquoted(title.strip())
    if not titles:
        raise InputError(f"{path}: there is no title")
    chinese = sum(_HAN.search(title) is not None for title in titles.values())
    filled = sum(bool(title) for title in titles.values())
    return Titles(titles, "zh" if 2 * chinese > filled else "en", path.name)


def _unquoted(title: str) -> str:
    """Return a title that is quoted as a whole, as CSV quotes one that holds a comma, without its quotes."""
    if len(title) > 1 and title[0] == title[-1] == '"':
        return title[1:-1].replace('""', '"').strip()
    return title
