"""Where files of the repository lie in the site, and links between them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
OUTSIDE = (
    "README.md",
    "README.zh-CN.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "benchmarks/README.md",
    "benchmarks/results/*.md",
    "benchmarks/results/*.png",
    "examples/*.ipynb",
    "examples/*/README.md",
    "recipes/llmrec_recipes/**/README.md",
)
"""Files of the site that lie outside docs/; each keeps the path that it has in the repository."""
CONTENTS = ("docs/README.md", "contents.md")
"""The list of all pages in the repository and in the site, which begins with the repository's own README.md."""
_LABEL = r"(?:[^\[\]`]|`[^`]*`|\[[^\]]*\](?:\([^)]*\))?)*"
_LINK = rf"(?P<opened>!?\[)(?P<label>{_LABEL})\]\((?P<target>[^)\s]+)\)"
_CODE = r"^(?P<fence> *(?:```+|~~~+)).*?^(?P=fence) *$|(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)"
_CODE_OR_LINK = re.compile(f"{_CODE}|{_LINK}", re.DOTALL | re.MULTILINE)
_ELSEWHERE = re.compile(r"[a-z][a-z+.-]*:|#|/", re.IGNORECASE)


def outside_places() -> dict[str, str]:
    """Return the files outside docs/ that belong to the site: paths in the repository, with those in the site."""
    found = (path.relative_to(ROOT).as_posix() for pattern in OUTSIDE for path in ROOT.glob(pattern))
    return {source: source for source in sorted(found)}


def place_of(path: str) -> str:
    """Return where a file of docs/ lies in the site; `path` is that below docs/."""
    return CONTENTS[1] if f"docs/{path}" == CONTENTS[0] else path


def source_of(place: str) -> str:
    """Return the path in the repository of what lies at a place in the site; generated pages count as part of docs/."""
    if place == CONTENTS[1]:
        return CONTENTS[0]
    return place if (ROOT / place).is_file() else f"docs/{place}"


def relinked(text: str, source: str, places: Mapping[str, str], repository: str | None) -> str:
    """Rewrite the relative links of a page so that they lead to the same files from its place in the site.

    A link to a file that is no part of the site leads to the repository; where that has no address, its words stay
    and the link goes. Code is left alone, and so are links to files that do not exist, which MkDocs then refuses.

    Args:
        text: The page in Markdown, as it stands in the repository.
        source: Path of the page in the repository.
        places: Paths in the repository of all that the site has, with those in the site.
        repository: Address of the repository's front page, if it has one.
    """

    def link(found: re.Match[str]) -> str:
        if found["target"] is None:
            return found[0]
        opened, label = found["opened"], relinked(found["label"], source, places, repository)
        if _ELSEWHERE.match(found["target"]):
            return f"{opened}{label}]({found['target']})"
        path, hash_sign, heading = found["target"].partition("#")
        named = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        target = named if named in places else posixpath.join(named, "README.md")
        if target in places:
            here = posixpath.dirname(places[source])
            return f"{opened}{label}]({posixpath.relpath(places[target], here or '.')}{hash_sign}{heading})"
        if not (ROOT / named).exists():
            return f"{opened}{label}]({found['target']})"
        if repository is None:
            return label
        return f"{opened}{label}]({repository.rstrip('/')}/blob/HEAD/{named}{hash_sign}{heading})"

    return _CODE_OR_LINK.sub(link, text)
