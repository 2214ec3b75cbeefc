"""EncodeWorker: rows of items or users become texts, and the texts vectors, a part at a time."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llmrec_peft.artifact.manifest import read_manifest
from llmrec_peft.backbone.base import base_differences
from llmrec_peft.backbone.encoder import TextEncoder
from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.backbone.precision import best_device
from llmrec_peft.cluster.parts import INPUTS, read_part, write_result
from llmrec_peft.data.views import ViewTemplate
from llmrec_peft.errors import InputError, NotFiniteError
from llmrec_peft.model.prompting import Prompting
from llmrec_peft.recipe import Recipe
from llmrec_peft.run.language_model import LanguageModel, TenantAdapter, require_version

if TYPE_CHECKING:
    import torch

    from llmrec_peft.backbone.load import Backbone
    from llmrec_peft.data.tokens import TokenTable

VIEW = b"llmrec.view"
"""Metadata of an input: ``item`` or ``user``."""
COLUMNS = {"item": "item_id", "user": "user_id"}
"""Column of ids in the owner's tables, by view."""
FORMATS: dict[str, pa.DataType] = {"float32": pa.float32(), "float16": pa.float16()}
"""Types of a vector's numbers."""


class EncodeWorker:
    """Encodes parts of a recipe's items and users with the frozen base, or with a run's adapter in it.

    A text's vector depends on nothing but the text: passes have shapes that follow from a text's own length
    (`llmrec_peft.backbone.chunks.steady_chunks`), also in fp32, so that the vector has the same bits in whatever part
    and by whatever worker of the same kind of machine it is computed.
    """

    def __init__(
        self,
        folder: str,
        job: str,
        recipe: dict[str, Any],
        numbers: str,
        run: str | None = None,
        digest: str = "",
        base: Mapping[str, str | None] | None = None,
    ) -> None:
        """Set what to encode; the base is loaded with the first part.

        Args:
            folder: Folder of the parts.
            job: Digest of the job.
            recipe: Resolved recipe, as plain values.
            numbers: ``float32`` or ``float16``.
            run: Run folder whose adapter is attached; None for the frozen base.
            digest: Digest of that run.
            base: Digests of the frozen base with which the job was begun, see `llmrec_peft.backbone.base.content_of`.
        """
        self._folder, self._job = Path(folder), job
        self._recipe = Recipe.from_plain(recipe)
        self._run, self._digest = None if run is None else Path(run), digest
        self._base = dict(base or {})
        self._type = FORMATS[numbers]
        self._frozen: tuple[Backbone, TextEncoder] | None = None
        self._tuned: tuple[LanguageModel, TenantAdapter] | None = None

    def work(self, part: str) -> dict[str, Any]:
        """Encode one part, and say how many texts were read, how many of them cut, whether all are one, by which base.

        Raises:
            InputError: If the base cannot be loaded, a text cannot be made, or its vector is not finite.
        """
        table = read_part(self._folder / INPUTS / part)
        view = (table.schema.metadata or {}).get(VIEW, b"").decode()
        ids = table.column(COLUMNS[view])
        rows = table.to_pylist()
        with self._encoder() as (backbone, encoder):
            texts, tokens, cut = self._tokens(backbone, view, rows)
            reader = backbone.reads(self._recipe.backbone)
            vectors = _encoded(encoder, tokens, reader.reading(view))
            report = {
                "view": view,
                "rows": len(rows),
                "cut": cut,
                "alike": _digest_of_all(texts),
                "width": int(vectors.shape[1]),
                "base": backbone.identity.plain(),
                "reads": reader.plain(),
            }
        result = pa.table(
            {
                "id": ids.cast(pa.string()),
                "view": pa.array([view] * len(rows), pa.string()),
                "vector": self._column(vectors, ids),
            }
        )
        options = {"use_dictionary": ["view"], "write_statistics": ["id", "view"]}
        write_result(self._folder, part, result, self._job, report, **options)
        return report

    def _tokens(
        self, backbone: Backbone, view: str, rows: list[dict[str, Any]]
    ) -> tuple[Sequence[str], TokenTable, int]:
        """Write the texts as training writes them, and tokenize them; and how many were cut."""
        recipe = self._recipe
        if view == "item":
            texts = ViewTemplate(recipe.views.item.template).render_all(rows)
            reader, length = backbone.reads(recipe.backbone), recipe.views.item.max_length
            tokens = reader.tokenized(texts, length)
            return texts, tokens, reader.count_cut(texts, tokens, length)
        writer = Prompting.of(recipe, backbone).user
        assert writer is not None  # noqa: S101 - the recipe has the view
        written = writer.of_users([{}, *rows])
        texts = written.texts[1:]
        return texts, writer.tokenized(texts), written.cut

    @contextlib.contextmanager
    def _encoder(self) -> Iterator[tuple[Backbone, TextEncoder]]:
        """Yield the base and the encoder of texts, loaded once."""
        if self._run is not None:
            base, adapter = self._tuned = self._tuned or self._opened(self._run)
            with base.inside(adapter) as (backbone, encoder):
                encoder.steady = True
                yield backbone, encoder
            return
        if self._frozen is None:
            backbone = load_backbone(self._recipe.backbone, best_device())
            self._require_base(backbone.identity.plain())
            model = backbone.model
            encoder = backbone.reads(self._recipe.backbone).encoder(model, list(model.modules()))
            encoder.to(backbone.device).eval().requires_grad_(False)
            encoder.steady = True
            self._frozen = backbone, encoder
        yield self._frozen

    def _require_base(self, found: dict[str, str | None]) -> None:
        """Refuse a base that is not the one with which the job was begun.

        Raises:
            InputError: Naming what differs.
        """
        differ = base_differences(found, found | self._base)
        if differ:
            name = self._recipe.backbone.name
            raise InputError(f"backbone {name}: not the one with which the job was begun: {'; '.join(differ)}")

    def _opened(self, run: Path) -> tuple[LanguageModel, TenantAdapter]:
        manifest = read_manifest(run, verify=False)
        require_version(run, manifest, self._digest)
        recipe = self._recipe
        return LanguageModel(recipe.backbone, manifest.base, best_device()), TenantAdapter(run, manifest, recipe)

    def _column(self, vectors: NDArray[np.float32], ids: pa.ChunkedArray) -> pa.Array:
        """Return vectors as a column.

        Raises:
            NotFiniteError: If one of them is not finite, or too large for float16.
        """
        with np.errstate(over="ignore"):
            numbers = vectors.astype(self._type.to_pandas_dtype(), copy=False)
        wrong = np.flatnonzero(~np.isfinite(numbers).all(axis=1))
        if len(wrong):
            which = ids[int(wrong[0])].as_py()
            advice = "try --set backbone.precision=fp32" if not np.isfinite(vectors).all() else "write float32"
            raise NotFiniteError(f"the vector of {which!r:.60} is not finite as {self._type}: {advice}")
        return pa.FixedSizeListArray.from_arrays(pa.array(numbers.reshape(-1), self._type), numbers.shape[1])


def _digest_of_all(texts: Sequence[str]) -> str | None:
    """Return the digest of a text that all texts are; None if they differ."""
    return hashlib.sha256(texts[0].encode()).hexdigest() if len(set(texts)) == 1 else None


def _encoded(encoder: TextEncoder, tokens: TokenTable, reading: Any) -> NDArray[np.float32]:
    """Return vectors of all keys, float32 [keys, width]."""
    import torch

    with torch.no_grad():
        vectors: torch.Tensor = encoder.encode_as(tokens, reading)
    return vectors.float().cpu().numpy()
