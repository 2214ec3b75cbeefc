"""Rules that every page keeps: well-formed, accessible, without scripts and without anything from elsewhere."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = frozenset(("meta", "br", "hr", "img", "input", "link"))
FORBIDDEN = frozenset(
    ("script", "iframe", "object", "embed", "link", "img", "form", "base", "foreignobject", "image", "use")
)
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class Elements(HTMLParser):
    """Which elements are open, and what is wrong with them."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.broken: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that has to be closed."""
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at an element that is closed at once."""
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        """Hold what is closed against what is open."""
        if tag not in VOID and (not self.open or self.open.pop() != tag):
            self.broken.append(f"</{tag}> closes another element")


class Page(Elements):
    """A page that was parsed, with the rules that it breaks."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.tags: dict[str, int] = {}
        self.policy = ""
        self.words: list[str] = []
        self.feed(text)
        self.close()
        self.broken += [f"{tag} is never closed" for tag in self.open]
        self.broken += [f"no part is called {target}" for target in self.targets if target not in self.ids]
        self.broken += [f"two parts are called {name}" for name in set(self.ids) if self.ids.count(name) > 1]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at an element and its attributes."""
        given = {name: value or "" for name, value in attrs}
        self.tags[tag] = self.tags.get(tag, 0) + 1
        if tag in FORBIDDEN:
            self.broken.append(f"<{tag}>")
        self.broken += [f"{name} on <{tag}>" for name in given if name.startswith("on") or name in ("src", "srcset")]
        self.broken += [f"{name}={value}" for name, value in given.items() if "://" in value or "javascript:" in value]
        if "id" in given:
            self.ids.append(given["id"])
        if "href" in given:
            self.targets.append(given["href"].removeprefix("#"))
        if tag == "th" and given.get("scope") not in ("col", "row"):
            self.broken.append("th without scope")
        if (
            tag == "svg"
            and given.get("class") == "chart"
            and not (given.get("role") == "img" and given.get("aria-label"))
        ):
            self.broken.append("chart without a description")
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"]
        super().handle_starttag(tag, attrs)

    def handle_data(self, data: str) -> None:
        """Keep what is read."""
        self.words.append(data)

    @property
    def text(self) -> str:
        """What is read, spaces joined."""
        return " ".join(" ".join(self.words).split())


def checked(text: str) -> Page:
    """Parse a page that keeps all rules."""
    page = Page(text)
    assert page.broken == []
    assert page.policy == POLICY
    assert text.startswith("<!DOCTYPE html>")
    assert page.tags["caption"] == page.tags["table"], "each table says what it holds"
    assert page.tags["title"] >= 1
    return page
