"""Workers of a prediction in parts: new items' texts become vectors, and pairs scores, as one process does it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.artifact.tables import ItemTable
from llmrec_peft.backbone.precision import best_device
from llmrec_peft.cluster.parts import INPUTS, RESULTS, read_part, write_result
from llmrec_peft.data.views import ViewTemplate
from llmrec_peft.errors import InputError
from llmrec_peft.run.known_recipes import recipe_of
from llmrec_peft.run.language_model import LanguageModel, TenantAdapter, require_version
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.run.tuned_model import TunedModel
from llmrec_peft.workflows.sifting import scores_of


class NewItemWorker:
    """Encodes the texts of the items that one chunk of a file brought, by a run's language model."""

    def __init__(self, folder: str, job: str, run: str, digest: str) -> None:
        """Set what to encode; the run is loaded with the first part.

        Args:
            folder: Folder of the parts: columns of new items, in which the item template is rendered.
            job: Digest of the job.
            run: Run folder.
            digest: Its digest.
        """
        self._folder, self._job = Path(folder), job
        self._run, self._digest = Path(run), digest
        self._model: TunedModel | None = None
        self._template: ViewTemplate | None = None

    def work(self, part: str) -> dict[str, Any]:
        """Encode the items of one part together, as `Recommender.add_items` does, and say how many texts were cut."""
        if self._model is None or self._template is None:
            self._model, self._template = self._opened()
        rows = rows_of(read_part(self._folder / INPUTS / part))
        vectors, cut = self._model.read_items(self._template.render_all(rows))
        numbers = vectors.float().cpu().numpy()
        column = pa.FixedSizeListArray.from_arrays(pa.array(numbers.reshape(-1), pa.float32()), numbers.shape[1])
        report = {"rows": len(rows), "cut": cut}
        write_result(self._folder, part, pa.table({"vector": column}), self._job, report)
        return report

    def _opened(self) -> tuple[TunedModel, ViewTemplate]:
        """Open the run's language model alone: its vectors and tables are not needed here."""
        sealed = SealedFolder.open(self._run)
        require_version(self._run, sealed.manifest, self._digest)
        recipe = recipe_of(sealed)
        base = LanguageModel(recipe.backbone, sealed.manifest.base, best_device())
        adapter = TenantAdapter(self._run, sealed.manifest, recipe)
        nothing = ItemTable((), (), np.empty(0, np.int64))
        return TunedModel(recipe, nothing, (), base, adapter), ViewTemplate(recipe.views.item.template)


class ScoreWorker:
    """Scores pairs by a run to which the new items of the whole file were added, with the vectors encoded before."""

    def __init__(
        self,
        folder: str,
        job: str,
        run: str,
        digest: str,
        new: str,
        parts: list[str],
        encoded: str,
        withheld: Sequence[str] = (),
    ) -> None:
        """Set what to score; the run is loaded with the first part.

        Args:
            folder: Folder of the parts: columns ``user``, ``item`` and ``wanted``.
            job: Digest of the job.
            run: Run folder.
            digest: Its digest.
            new: Folder of the parts of new items.
            parts: Their names, in the order of the file.
            encoded: Digest of the job that encoded them; empty for a run that stores no vectors.
            withheld: Files that the run lacks where the job was begun, see `SealedFolder.withheld`.
        """
        self._folder, self._job = Path(folder), job
        self._run, self._digest = Path(run), digest
        self._new, self._parts, self._encoded = Path(new), parts, encoded
        self._withheld = list(withheld)
        self._recommender: Recommender | None = None

    def work(self, part: str) -> dict[str, Any]:
        """Score one part, and say how many rows have a score."""
        if self._recommender is None:
            recommender = Recommender.from_pretrained(self._run)
            require_version(self._run, recommender.loaded.manifest, self._digest)
            self._require_histories(recommender.loaded.sealed.withheld())
            self._recommender = self._with_new_items(recommender)
        table = read_part(self._folder / INPUTS / part)
        wanted = np.flatnonzero(np.asarray(table.column("wanted").to_pylist(), bool))
        users, items = table.column("user").to_pylist(), table.column("item").to_pylist()
        scores = scores_of(self._recommender.tenant, users, items, wanted)
        report = {"rows": len(scores), "scored": len(wanted)}
        write_result(self._folder, part, pa.table({"score": pa.array(scores)}), self._job, report)
        return report

    def _require_histories(self, withheld: list[str]) -> None:
        """Refuse a copy of the run that has other private files than the one with which the job was begun.

        Raises:
            InputError: Naming what is missing.
        """
        if withheld != self._withheld:
            here, there = (" and ".join(names) or "no file" for names in (withheld, self._withheld))
            raise InputError(f"{self._run}: the run here lacks {here}, and {there} where the job was begun")

    def _with_new_items(self, recommender: Recommender) -> Recommender:
        """Add the new items in the order of the file."""
        for name in self._parts:
            vectors = None
            if self._encoded:
                column = read_part(self._new / RESULTS / name, self._encoded).column("vector").combine_chunks()
                vectors = torch.from_numpy(column.flatten().to_numpy().reshape(len(column), -1).copy())
            rows = rows_of(read_part(self._new / INPUTS / name))
            recommender.add_items_to(recommender.tenant, rows, vectors)
        return recommender


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """Return the columns of new items, row by row."""
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows
