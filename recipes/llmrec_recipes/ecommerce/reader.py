"""Reader of Amazon Reviews, 2018 and 2023: the reviews of one category, its products and what connects them."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, cast

from llmrec_peft.plugins import InputError, Options, Reader, RecDataset, interactions_table, table
from llmrec_recipes.ecommerce.amazon_files import OF_2018, category_in
from llmrec_recipes.ecommerce.relations import RELATIONS, Relation, graph_of

_LICENCES = {
    2018: (
        "Amazon review data 2018, collected by J. Ni and J. McAuley, UC San Diego: research use; reviews are their\n"
        "writers'. Cite: J. Ni, J. Li, J. McAuley, Justifying Recommendations, EMNLP 2019, doi:10.18653/v1/D19-1018."
    ),
    2023: (
        "Amazon Reviews 2023, collected by McAuley Lab, UC San Diego: research use; reviews are their writers'. Cite:\n"
        "Y. Hou et al., Bridging Language and Items for Retrieval and Recommendation, arXiv:2403.03952, 2024."
    ),
}


class EcommerceOptions(Options):
    """What of a category is read."""

    reviews: bool = True
    """Whether review texts are read. Only the head `explanation` learns from them; of a large category they are most of
    the memory."""
    relations: tuple[Relation, ...] = RELATIONS
    """What connects products in the graph: their `brand` (2023: store), their `category` path, products `bought` with
    them (2018: also_buy, 2023: bought_together)."""


class Ecommerce(Reader):
    """Stars and reviews of one category of Amazon Reviews, the texts of its products and the graph around them.

    Reads both editions, by looking into the folder: of 2018 ``NAME_5.json.gz`` (or ``NAME.json.gz``) and
    ``meta_NAME.json.gz``, of 2023 ``NAME.jsonl.gz`` and ``meta_NAME.jsonl.gz``; files may be unpacked. Texts are plain:
    markup is removed and entities are resolved. The title of a product that has no usable one is the first words of its
    description, else brand and category, else its id. Average ratings, counts of ratings and ranks of sales are not
    read: they tell of test's reviews.
    """

    summary: ClassVar[str] = (
        "Amazon Reviews 2018 and 2023, one category: stars, reviews, product texts, what connects them"
    )
    Config: ClassVar[type[Options]] = EcommerceOptions
    options: Options = EcommerceOptions()

    def read(self, path: Path, graph: Path | None) -> RecDataset:
        """Read the reviews and the metadata of the only category in a folder."""
        if graph is not None:
            raise InputError("data.graph: the graph of Amazon Reviews lies in the metadata themselves; leave it out")
        from pyarrow import compute

        from llmrec_recipes.ecommerce.products import Products
        from llmrec_recipes.ecommerce.reviews import RATINGS, read_reviews

        options, category = cast(EcommerceOptions, self.options), category_in(path)
        layout = category.layout
        columns, notes = read_reviews(category, options.reviews)
        products = Products.read(category, compute.unique(columns["item_id"]))
        found, outside = graph_of(
            products.item_id, products.brand, products.categories, products.bought, options.relations
        )
        if outside:
            notes.append(f"products without a review here that several name in {layout.bought}, entities: {outside}")
        brought = {} if options.reviews else {"review": "data.options.reviews: true"}
        if found is None:
            fields = f"{layout.brand}, {layout.categories} or {layout.bought}"
            brought["graph"] = f"{category.metadata.name} with {fields}, see data.options.relations"
        return RecDataset(
            name=f"Amazon {category.name.replace('_', ' ')}{'' if layout is OF_2018 else f' {layout.year}'}",
            interactions=interactions_table(**columns),
            items=table(
                {
                    "item_id": products.item_id,
                    "title": products.title,
                    "description": products.description,
                    "features": products.features,
                    "categories": products.categories,
                    "brand": products.brand,
                }
            ),
            users=table({"user_id": compute.unique(columns["user_id"])}),
            rating_range=RATINGS,
            graph=found,
            licence=_LICENCES[layout.year],
            notes=(*products.notes, *notes),
            feedback="rating",
            brought_by=brought,
        )

    def demo(self, seed: int) -> RecDataset:
        """Make up magazines and letters of their readers; see `llmrec_recipes.ecommerce.demo`."""
        from llmrec_recipes.ecommerce.demo import demo_dataset

        return demo_dataset(seed)
