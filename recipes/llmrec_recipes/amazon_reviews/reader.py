"""Reader of Amazon Reviews 2018: the 5-core reviews of one category and the metadata of its products."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from llmrec_peft.plugins import Reader, RecDataset, interactions_table, table
from llmrec_recipes.text_files import Record, json_lines, no_graph, required_file, required_match

if TYPE_CHECKING:
    from datasets import Dataset

_LICENCE = (
    "Amazon review data 2018, collected by J. Ni and J. McAuley, UC San Diego: research use; reviews are their\n"
    "writers'. Cite: J. Ni, J. Li, J. McAuley, Justifying Recommendations, EMNLP 2019, doi:10.18653/v1/D19-1018."
)
_RATINGS = (1, 5)
_ENDING = "_5.json.gz"
_NAME_WORDS = 8
"""Words of a description that replace a missing title."""
_CODE = re.compile(r"<(script|style)\b.*?(?:</\1\s*>|\Z)", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<(?:/?[a-zA-Z]|!--)[^<>]*>")
_BROKEN_TAG = re.compile(r"<[a-zA-Z]\w*\s[^<>=]*=[^<>]*\Z")
_PAGE_CODE = "getTime("
"""Marks the JavaScript that the crawler stored as the title of some thousand products."""


class AmazonReviews(Reader):
    """Ratings and reviews of one category of Amazon Reviews 2018 (5-core), and the products' metadata.

    Works for every category. Texts are plain: markup is removed and entities are resolved. The title of a product
    that has no usable one is the first words of its description, else brand and category, else its id.
    """

    summary: ClassVar[str] = "Amazon Reviews 2018 (5-core) of one category: stars, review texts, product texts"

    def read(self, path: Path, graph: Path | None) -> RecDataset:
        """Read ``<category>_5.json.gz`` and ``meta_<category>.json.gz``."""
        no_graph(graph, "Amazon Reviews")
        reviews = required_match(path, f"*{_ENDING}")
        category = reviews.name.removesuffix(_ENDING)
        metadata = required_file(path, f"meta_{category}.json.gz")
        columns: dict[str, list[Any]] = {name: [] for name in ("user_id", "item_id", "rating", "timestamp", "review")}
        for record in json_lines(reviews):
            columns["user_id"].append(record.name("reviewerID"))
            columns["item_id"].append(record.name("asin"))
            columns["rating"].append(record.number("overall", *_RATINGS))
            columns["timestamp"].append(record.whole("unixReviewTime"))
            text = plain_text(record.text("reviewText", ""))
            columns["review"].append(text or plain_text(record.text("summary", "")))
        items, notes = _items(metadata, list(dict.fromkeys(columns["item_id"])))
        return RecDataset(
            name=f"Amazon {category.replace('_', ' ')}",
            interactions=interactions_table(**columns),
            items=items,
            users=table({"user_id": list(dict.fromkeys(columns["user_id"]))}),
            rating_range=_RATINGS,
            licence=_LICENCE,
            notes=tuple(notes),
            feedback="rating",
        )

    def demo(self, seed: int) -> RecDataset:
        """Make up magazines and letters of their readers; see `llmrec_recipes.amazon_reviews.demo`."""
        from llmrec_recipes.amazon_reviews.demo import demo_dataset

        return demo_dataset(seed)


def plain_text(text: str) -> str:
    """Remove markup, resolve entities, and join words by single blanks; remove a tag cut off at the end too.

    >>> plain_text('The <i>best</i> of Tom &amp; Jerry,<br />3 < 4')
    'The best of Tom & Jerry, 3 < 4'
    >>> plain_text('<span class="a-size-medium a-color-secondary"')
    ''
    """
    text = _CODE.sub(" ", text)
    text = _BROKEN_TAG.sub(" ", _TAG.sub(_gap, text))
    return " ".join(html.unescape(text).split())


def _gap(tag: re.Match[str]) -> str:
    """Return what replaces a tag: nothing for one inside a line, such as ``<i>``, a blank for one that ends it."""
    return "" if re.match(r"</?(?:a|b|i|u|em|strong|font|span|sup|sub)\b", tag[0], re.IGNORECASE) else " "


def whole_title(text: str) -> str:
    """Return a product's title, or an empty text where the crawler stored a piece of the page instead.

    Such a piece is a broken tag, JavaScript, or the end of a ``<meta content="…" />``. The text before that end is
    the title, unless it begins with a blank: then only the shop's name is left.

    >>> whole_title("Bahco Round File, 6&quot;"), whole_title('Bahco Round File" />'), whole_title(' Magazines" />')
    ('Bahco Round File, 6"', 'Bahco Round File', '')
    """
    if _PAGE_CODE in text:
        return ""
    kept = text.removesuffix('" />')
    if kept != text and kept.startswith(" "):
        return ""
    return plain_text(kept)


def _items(path: Path, reviewed: list[str]) -> tuple[Dataset, list[str]]:
    """Return the items table, in the order of the first reviews, and notes with counts of what is irregular."""
    known: dict[str, dict[str, Any]] = {}
    wanted, seen, doubled = set(reviewed), set[str](), 0
    for record in json_lines(path):
        item = record.name("asin")
        doubled += item in seen
        if item in wanted and item not in seen:
            known[item] = _product(record)
        seen.add(item)
    nothing: dict[str, Any] = {"title": "", "description": "", "categories": [], "brand": ""}
    products = [known.get(item, nothing) for item in reviewed]
    called = [product["title"] or _called(product) for product in products]
    counts = {
        f"products of the metadata without a review here, left out, of {len(seen)}": len(seen) - len(known),
        "lines of the metadata that repeat a product, of which the first was kept": doubled,
        "reviewed products without metadata": len(reviewed) - len(known),
        "reviewed products without a usable title, called by their description or by brand and category": sum(
            not product["title"] and bool(call) for product, call in zip(products, called, strict=True)
        ),
        "reviewed products without any text, called by their id": sum(not call for call in called),
    }
    notes = [f"{what}: {count}" for what, count in counts.items() if count]
    columns = {"item_id": reviewed, "title": [call or item for call, item in zip(called, reviewed, strict=True)]}
    texts = {name: [product[name] for product in products] for name in ("description", "categories", "brand")}
    return table({**columns, **texts}), notes


def _product(record: Record) -> dict[str, Any]:
    """Return the texts of one product, without markup."""
    categories = [plain_text(category) for category in record.texts("category")]
    return {
        "title": whole_title(record.text("title", "")),
        "description": plain_text(" ".join(record.texts("description"))),
        "categories": [category for category in categories if category],
        "brand": plain_text(record.text("brand", "")),
    }


def _called(product: dict[str, Any]) -> str:
    """Return the title of a product that has none of its own."""
    words = product["description"].split()
    if words:
        return " ".join(words[:_NAME_WORDS]) + (" …" if len(words) > _NAME_WORDS else "")
    return ", ".join([text for text in (product["brand"], *product["categories"][-1:]) if text])
