"""Files of Amazon Reviews: which category and year a folder holds, the fields that are read, and wrong cells named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from llmrec_peft.plugins import FileForm, InputError, lines_of_rows, read_table
from llmrec_recipes.text_files import listed, required_file

if TYPE_CHECKING:
    import pyarrow as pa

_META = "meta_"
_CORE = "_5"
_PACKED = ".gz"


@dataclass(frozen=True)
class Layout:
    """Fields of one year's files. What is not named here is never read.

    Attributes:
        year: Year of the edition.
        ending: What files of both kinds end with, before a ``.gz``.
        user: Field of the reviewer.
        item: Field of the product in a review.
        product: Field of the product in its metadata.
        rating: Field of the stars.
        time: Field of the time.
        ticks: Units of time in a second.
        review: Fields of the review's text; the first that is not empty counts.
        brand: Field of who makes or sells the product.
        categories: Field of the path of categories.
        category: Field of the category that stands for an empty path; empty for none.
        features: Field of the points that a product's page lists.
        bought: Field of the products that are bought with it.
    """

    year: int
    ending: str
    user: str
    item: str
    product: str
    rating: str
    time: str
    ticks: int
    review: tuple[str, str]
    brand: str
    categories: str
    category: str
    features: str
    bought: str


OF_2018 = Layout(
    year=2018,
    ending=".json",
    user="reviewerID",
    item="asin",
    product="asin",
    rating="overall",
    time="unixReviewTime",
    ticks=1,
    review=("reviewText", "summary"),
    brand="brand",
    categories="category",
    category="",
    features="feature",
    bought="also_buy",
)
OF_2023 = Layout(
    year=2023,
    ending=".jsonl",
    user="user_id",
    item="parent_asin",
    product="parent_asin",
    rating="rating",
    time="timestamp",
    ticks=1000,
    review=("text", "title"),
    brand="store",
    categories="categories",
    category="main_category",
    features="features",
    bought="bought_together",
)


@dataclass(frozen=True)
class Category:
    """The two files of one category.

    Attributes:
        name: The category as its owner writes it, such as ``Magazine_Subscriptions``.
        layout: Fields of its files.
        reviews: File of reviews.
        metadata: File of products.
    """

    name: str
    layout: Layout
    reviews: Path
    metadata: Path


def category_in(folder: Path) -> Category:
    """Find the files of the only category in a folder.

    Raises:
        InputError: If there are no reviews, or those of several categories or years, or the metadata are missing.
    """
    try:
        names = sorted(one.name for one in folder.iterdir() if one.is_file()) if folder.is_dir() else []
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror or error}") from None
    found = {name: layout for name in names if (layout := _layout_of(name)) is not None}
    reviews = [name for name in found if not name.startswith(_META)]
    if len(reviews) > 1:
        raise InputError(
            f"{folder}: {reviews[0]!r:.60} and {reviews[1]!r:.60} could both be the reviews: leave the files of one"
            " category in the folder, of one year, each once"
        )
    if not reviews:
        holds = f"the folder holds {listed(folder) or 'nothing'}" if folder.is_dir() else "there is no such folder"
        raise InputError(
            f"{folder}: no reviews such as Magazine_Subscriptions_5.json.gz (2018) or Magazine_Subscriptions.jsonl.gz"
            f" (2023); {holds}"
        )
    layout = found[reviews[0]]
    name = _unpacked(reviews[0]).removesuffix(layout.ending)
    name = name.removesuffix(_CORE) if layout is OF_2018 else name
    metadata = [one for one in found if _unpacked(one).removesuffix(found[one].ending) == f"{_META}{name}"]
    if len(metadata) > 1:
        raise InputError(f"{folder}: {metadata[0]!r:.60} and {metadata[1]!r:.60} are both there: leave one of them")
    if metadata and found[metadata[0]] is not layout:
        raise InputError(
            f"{folder}: {reviews[0]!r:.60} is of {layout.year} and {metadata[0]!r:.60} of {found[metadata[0]].year}:"
            " products of one edition have other fields in the other"
        )
    missing = f"{_META}{name}{layout.ending}{_PACKED}"
    return Category(
        name, layout, required_file(folder, reviews[0]), required_file(folder, metadata[0] if metadata else missing)
    )


def _unpacked(name: str) -> str:
    return name.removesuffix(_PACKED)


def _layout_of(name: str) -> Layout | None:
    """Return the layout that a file's name tells; None for other files."""
    return next((layout for layout in (OF_2018, OF_2023) if _unpacked(name).endswith(layout.ending)), None)


class AmazonFile:
    """Some fields of a file with one JSON object a line.

    Attributes:
        path: The file.
        table: Its rows; a field that a line lacks, or that is null, is null.
    """

    def __init__(self, path: Path, fields: Sequence[str], types: Mapping[str, pa.DataType] | None = None) -> None:
        """Read the file in blocks.

        Args:
            path: The file.
            fields: Fields that are read, in this order.
            types: Types of fields that are not read as texts or lists of texts.

        Raises:
            InputError: Naming file, line and field of what cannot be read.
        """
        self.path = path
        packed = "gzip" if path.suffix == _PACKED else "none"
        self._form = FileForm.model_validate({"format": "json-lines", "columns": fields, "compression": packed})
        self.table: pa.Table = read_table(path, self._form, types).table
        if not self.table.num_rows:
            raise InputError(f"{path}: the file has no line")

    def column(self, field: str) -> pa.ChunkedArray:
        """Return a field of all lines."""
        return self.table.column(field)

    def refuse(self, row: int, field: str, why: str) -> NoReturn:
        """Raise the error for a cell.

        Args:
            row: Its row, from 0.
            field: Its field.
            why: What is wrong with it, and what belongs there.
        """
        line = lines_of_rows(self.path, self._form, [row])[0]
        raise InputError(f"{self.path}, line {line}, field {field!r}: {why}")

    def require_ids(self, field: str) -> None:
        """Refuse ids that are missing, empty or hold blanks."""
        from pyarrow import compute, types

        values = self.column(field)
        if not types.is_string(values.type):
            self.refuse(0, field, "an id without blanks belongs here, and some line has another value")
        right = compute.fill_null(compute.match_substring_regex(values, r"^\S+$"), False)
        wrong = compute.index(right, False).as_py()
        if wrong >= 0:
            self.refuse(wrong, field, "an id without blanks belongs here")

    def require(self, field: str, right: pa.ChunkedArray, what: str) -> None:
        """Refuse the first row where something does not hold, or is null."""
        from pyarrow import compute

        wrong = compute.index(compute.fill_null(right, False), False).as_py()
        if wrong >= 0:
            value = self.column(field)[wrong].as_py()
            self.refuse(wrong, field, f"{'nothing' if value is None else value} where {what} belongs")
