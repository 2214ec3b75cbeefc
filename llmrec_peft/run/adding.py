"""Adding: items that training did not know, made ready for a run, and then part of its catalogue."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

from llmrec_peft.data.views import ViewTemplate
from llmrec_peft.errors import InputError
from llmrec_peft.run.new_items import NewItems
from llmrec_peft.run.tenant import Tenant

ReadItems = Callable[[Sequence[str]], tuple[Tensor, int]]
"""Returns vectors of items' texts, float32 [n, width], and how many texts were too long and cut."""
T = TypeVar("T", bound=Tenant)


@dataclass(frozen=True, eq=False)
class Addition:
    """New items of a run, with the vectors of their texts.

    Attributes:
        ids: Their ids.
        titles: Their titles.
        columns: What the run reads of each, brought to the types of its items table.
        vectors: Vectors of their texts, float32 [n, width]; None if the run stores none.
        cut: How many of their texts were cut.
    """

    ids: list[str]
    titles: list[str]
    columns: Sequence[Mapping[str, Any]]
    vectors: Tensor | None
    cut: int

    @classmethod
    def of(
        cls,
        tenant: Tenant,
        rows: Iterable[Mapping[str, Any]],
        read: ReadItems,
        vectors: Tensor | None = None,
    ) -> Self:
        """Bring rows to the types that a run has, and encode their texts; the run stays as it is.

        Args:
            tenant: The run.
            rows: ``item_id`` and columns of each new item, see `Recommender.add_items`.
            read: Encodes their texts, if the run stores vectors.
            vectors: Their vectors, float32 [n, width], if they have been encoded already.

        Raises:
            InputError: As `Recommender.add_items`; for vectors that are not one of the run's width for each item.
        """
        catalogue = tenant.catalogue
        if catalogue.vectors is None and tenant.model.plan.prompt is None:
            raise InputError("this run does not read texts: an item that training did not know cannot be scored")
        columns = NewItems.of(tenant.recipe, tenant.items).all_brought(rows, catalogue.row_of)
        ids = [row["item_id"] for row in columns]
        texts = ViewTemplate(tenant.recipe.views.item.template).render_all(columns)
        titles = [str(row.get("title") or text) for row, text in zip(columns, texts, strict=True)]
        cut = 0
        if catalogue.vectors is not None:
            if vectors is None:
                vectors, cut = read(texts)
            elif vectors.shape != (len(ids), catalogue.vectors.shape[1]):
                raise InputError(f"vectors of new items are {list(vectors.shape)}, not one for each of {len(ids)}")
            vectors = vectors.to(catalogue.vectors.device)
        return cls(ids, titles, columns, vectors, cut)

    @classmethod
    def joined(cls, additions: Sequence[Addition]) -> Addition:
        """Return several additions, which follow one another, as one.

        Args:
            additions: At least one, oldest first.
        """
        if len(additions) == 1:
            return additions[0]
        vectors = [one.vectors for one in additions if one.vectors is not None]
        return cls(
            [item for one in additions for item in one.ids],
            [title for one in additions for title in one.titles],
            [row for one in additions for row in one.columns],
            torch.cat(vectors) if vectors else None,
            sum(one.cut for one in additions),
        )

    def on_host(self) -> Addition:
        """Return the same items with vectors in host memory of their own, page-locked if a CUDA device computes."""
        if self.vectors is None:
            return self
        vectors = self.vectors.cpu() if self.vectors.is_cuda else self.vectors.clone()
        return replace(self, vectors=vectors.pin_memory() if self.vectors.is_cuda else vectors)

    def onto(self, tenant: T) -> T:
        """Return the run with these items at the end of its catalogue.

        Raises:
            InputError: If the run has one of them meanwhile.
        """
        larger = tenant.catalogue.with_items(self.ids, self.titles, self.vectors, self.columns, self.cut)
        return tenant.with_catalogue(larger)
