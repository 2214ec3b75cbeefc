"""README.zh-CN.md says what README.md says: the same headings, commands, tables, figures and links, in Chinese."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENGLISH, CHINESE = "README.md", "README.zh-CN.md"
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
GENERATED = re.compile(r"<!-- (table: \S+|output of[^>]*) -->\n(.*?)<!-- end of (?:table|output) -->", re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
COMMENT = re.compile(r"\s+#\s.*$", re.MULTILINE)


def text_of(name: str) -> str:
    """A page without the line that leads to the other language."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return "\n".join(
        line for line in text.split("\n") if not re.fullmatch(r"(\[?English\b.*) \\?\| (.*简体中文.*)", line)
    )


def code(text: str) -> list[tuple[str, list[str]]]:
    """Language and lines of each block of code; what comments say, and how far they are set in, is left out."""
    return [(language, COMMENT.sub("", body).split("\n")) for language, body in FENCED.findall(text)]


def sections(text: str) -> list[str]:
    """What stands below each heading, the page's own first, without code and what is generated."""
    prose = FENCED.sub("", GENERATED.sub("", text))
    return re.split(r"^#+ .*$", prose, flags=re.MULTILINE)[1:]


def shape(text: str) -> dict[str, object]:
    """What both languages have to share."""
    parts = sections(text)
    return {
        "levels of headings": re.findall(r"^(#+) ", FENCED.sub("", text), re.MULTILINE),
        "code": code(GENERATED.sub("", text)),
        "generated": GENERATED.findall(text),
        "links": [[link for link in LINK.findall(part) if not link.startswith("#")] for part in parts],
        "links within the page": [sum(link.startswith("#") for link in LINK.findall(part)) for part in parts],
        "numbers": [sorted(NUMBER.findall(LINK.sub("", part))) for part in parts],
        "names in code": [sorted(set(re.findall(r"`([^`\n]+)`", part))) for part in parts],
        "items of lists": [len(re.findall(r"^- ", part, re.MULTILINE)) for part in parts],
    }


@pytest.mark.parametrize("what", list(shape("# x\n")))
def test_both_languages_share(what: str) -> None:
    assert shape(text_of(CHINESE))[what] == shape(text_of(ENGLISH))[what]


def test_the_chinese_page_is_chinese_and_leads_to_the_other() -> None:
    whole = (ROOT / CHINESE).read_text(encoding="utf-8")
    assert "](README.md)" in whole
    for part in filter(str.strip, sections(text_of(CHINESE))):
        letters, words = len(re.findall(r"[\u4e00-\u9fff]", part)), len(re.findall(r"[A-Za-z]{2,}", LINK.sub("", part)))
        assert letters > words, part[:80]


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("llmrec doctor", "llmrec docter", "code"),
        ("| 0.9531 |", "| 0.9532 |", "generated"),
        ("18 adapter", "19 adapter", "numbers"),
        ("(docs/own-data.md)", "(docs/data.md)", "links"),
        ("\n## ", "\n### ", "levels of headings"),
        ("- [", "* [", "items of lists"),
        ("`biased mf`", "`bias`", "names in code"),
    ],
)
def test_what_was_changed_in_one_language_alone_is_noticed(old: str, new: str, what: str) -> None:
    text = text_of(ENGLISH)
    changed = text.replace(old, new, 1)
    assert changed != text
    assert shape(changed)[what] != shape(text)[what]
