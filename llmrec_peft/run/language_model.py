"""LanguageModel: one frozen base in memory, shared by tenants, with exactly one tenant's adapter inside at a time."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from llmrec_peft import registry
from llmrec_peft.artifact.manifest import Manifest, require_files
from llmrec_peft.backbone.bare import BareTree
from llmrec_peft.backbone.base import require_base
from llmrec_peft.backbone.encoder import TextEncoder
from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.recipe import Recipe

if TYPE_CHECKING:
    import torch

    from llmrec_peft.backbone.load import Backbone
    from llmrec_peft.recipe.sections import BackboneSection

FILES = ("adapter_config.json", "adapter_model.safetensors")
"""Files of an adapter in a run folder."""


class TenantAdapter:
    """One run's adapter: its files until it has been inside the base, its modules from then on.

    What an adapter changes in the base's module tree is what `Backbone.detach` undoes: children, parameters
    and hooks. So remembering the adapted tree is all it takes to put the adapter back, without a file, a copy
    or a second look at its tensors.
    """

    def __init__(self, folder: Path, manifest: Manifest, recipe: Recipe) -> None:
        self.manifest = manifest
        self._folder = folder
        self._recipe = recipe
        self._tree: BareTree | None = None
        self._encoder: TextEncoder | None = None

    @property
    def encoder(self) -> TextEncoder:
        """Encoder of texts; valid while the adapter is inside."""
        assert self._encoder is not None  # noqa: S101 - `put_into` has run
        return self._encoder

    def put_into(self, backbone: Backbone) -> None:
        """Attach to the bare model.

        Raises:
            InputError: When the files changed since the run was read or do not fit; the model is bare then.
        """
        if self._tree is not None:
            self._tree.restore()
            return
        section, choice = self._recipe.backbone, self._recipe.adapter
        frozen = list(backbone.model.modules())
        try:
            require_files(self._folder, self.manifest, FILES)
            tuned = registry.get("adapters", choice.method)(choice.config).load(backbone, self._folder)
            require_files(self._folder, self.manifest, FILES)  # they may have been replaced while they were read
            encoder = TextEncoder(tuned, frozen, section.pooling, section.normalize)
            encoder = encoder.to(backbone.device).eval().requires_grad_(False)
        except BaseException:
            backbone.detach()
            raise
        self._encoder, self._tree = encoder, BareTree(backbone.model)

    def forget(self) -> None:
        """Drop the modules."""
        self._encoder, self._tree = None, None


class LanguageModel:
    """The base of one or many tenants; loaded when the first text is encoded.

    Adapters of different methods cannot be stacked, and a switch in the middle of somebody's pass would answer
    him with another's weights. So one adapter is inside at a time, and it stays there as long as `inside` does.
    """

    def __init__(self, section: BackboneSection, recorded: dict[str, str | None], device: torch.device) -> None:
        """Note what to load.

        Args:
            section: Where the base is; its precision gives way to the recorded computation.
            recorded: Identity that the base must have.
            device: Where to load it.
        """
        computed = recorded.get("compute")
        self._section = section.model_copy(update={"precision": computed}) if computed else section
        self.recorded = dict(recorded)
        self._device = device
        self._backbone: Backbone | None = None
        self._inside: TenantAdapter | None = None
        self._lock = threading.RLock()

    @property
    def loaded(self) -> bool:
        """Whether the base is in memory."""
        return self._backbone is not None

    def require(self, manifest: Manifest, run: str) -> None:
        """Refuse a run that was trained on another base.

        Raises:
            InputError: Naming every field that differs.
        """
        require_base(self.recorded, manifest.base, run)

    @contextlib.contextmanager
    def inside(self, adapter: TenantAdapter) -> Iterator[tuple[Backbone, TextEncoder]]:
        """Inside the block the base answers as this tenant's; others wait.

        Raises:
            InputError: When the base is not the recorded one, or the adapter does not fit.
        """
        with self._lock:
            backbone = self._loaded()
            if self._inside is not adapter:
                backbone.detach()
                self._inside = None
                adapter.put_into(backbone)
                self._inside = adapter
            yield backbone, adapter.encoder

    @contextlib.contextmanager
    def bare(self) -> Iterator[Backbone]:
        """Inside the block the base answers as itself, no adapter inside; others wait."""
        with self._lock:
            backbone = self._loaded()
            backbone.detach()
            self._inside = None
            yield backbone

    def drop(self, adapter: TenantAdapter) -> None:
        """Take an adapter out for good and give its memory back."""
        with self._lock:
            if self._inside is adapter and self._backbone is not None:
                self._backbone.detach()
                self._inside = None
            adapter.forget()
        gc.collect()  # modules of adapters refer to each other in circles, which would keep them until some later pass

    def _loaded(self) -> Backbone:
        if self._backbone is None:
            backbone = load_backbone(self._section, self._device)
            require_base(backbone.identity.plain(), self.recorded, "the run")
            self._backbone = backbone
        return self._backbone
