"""Reviews: who gave how many stars to what and when, and what was written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmrec_peft.plugins import InputError
from llmrec_recipes.ecommerce.amazon_files import OF_2023, AmazonFile, Category
from llmrec_recipes.ecommerce.texts import plain

if TYPE_CHECKING:
    import pyarrow as pa

RATINGS = (1, 5)
_LATEST = 4_102_444_800
"""The year 2100 in seconds; a time in milliseconds is larger from the 18th of February 1970 on."""


def read_reviews(category: Category, texts: bool) -> tuple[dict[str, pa.ChunkedArray], list[str]]:
    """Read the file of reviews.

    Args:
        category: Its files.
        texts: Whether what was written is read.

    Returns:
        The columns ``user_id``, ``item_id``, ``rating``, ``timestamp`` in seconds, and ``review`` with `texts`, in the
        order of the file; and notes with counts of what was left out.

    Raises:
        InputError: Naming file, line and field of what is wrong.
    """
    import pyarrow as pa
    from pyarrow import compute

    layout = category.layout
    fields = (layout.user, layout.item, layout.rating, layout.time, *(layout.review if texts else ()))
    file = AmazonFile(category.reviews, fields, {layout.rating: pa.float64(), layout.time: pa.int64()})
    for field in (layout.user, layout.item):
        file.require_ids(field)
    stars, time = file.column(layout.rating), file.column(layout.time)
    low, high = RATINGS
    starred = compute.and_(compute.greater_equal(stars, low), compute.less_equal(stars, high))
    none = compute.fill_null(compute.equal(stars, 0 if layout is OF_2023 else None), False)
    file.require(layout.rating, compute.or_kleene(starred, none), f"a number from {low} to {high}")
    early, late = (0, _LATEST) if layout.ticks == 1 else (_LATEST, _LATEST * layout.ticks)
    within = compute.and_(compute.greater(time, early), compute.less_equal(time, late))
    unit = "seconds" if layout.ticks == 1 else "milliseconds"
    file.require(layout.time, within, f"a time in {unit} since 1970")
    columns = {
        "user_id": file.column(layout.user),
        "item_id": file.column(layout.item),
        "rating": stars.cast(pa.float32()),
        "timestamp": compute.divide(time, layout.ticks),
    }
    if texts:
        text, instead = (plain(file.column(field)) for field in layout.review)
        columns["review"] = compute.if_else(compute.equal(text, ""), instead, text)
    left_out = compute.sum(none).as_py()
    if left_out == len(none):
        raise InputError(f"{category.reviews}: no review gives stars")
    if not left_out:
        return columns, []
    kept = compute.invert(none)
    return {name: values.filter(kept) for name, values in columns.items()}, [
        f"reviews of 0 stars, which nobody can give, left out: {left_out}"
    ]
