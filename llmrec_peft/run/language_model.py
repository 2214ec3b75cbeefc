"""LanguageModel: one frozen base in memory, shared by tenants, with exactly one tenant's adapter attached at a time."""

from __future__ import annotations

import contextlib
import gc
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from llmrec_peft import registry
from llmrec_peft.artifact.manifest import Manifest
from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.backbone.bare import BareTree
from llmrec_peft.backbone.base import require_base
from llmrec_peft.backbone.encoder import TextEncoder
from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.backbone.remote_code import allowing, decided
from llmrec_peft.errors import InputError
from llmrec_peft.recipe import Recipe

if TYPE_CHECKING:
    import torch
    from torch import nn

    from llmrec_peft.backbone.load import Backbone
    from llmrec_peft.recipe.sections import BackboneSection

FILES = ("adapter_config.json", "adapter_model.safetensors")
"""Files of an adapter in a run folder."""
SLACK_BYTES, BYTES_OF_PARAMETER = 64 << 20, 8
"""Bytes that an adapter's file can have, at least and for each parameter of its base: the largest, `full`, has 4."""


class TenantAdapter:
    """One run's adapter: as files until it is first attached to the base, as modules afterwards.

    `Backbone.detach` undoes all that an adapter changes in the base's module tree: children, parameters and hooks. So
    storing the adapted tree is enough to attach the adapter again, without a file, a copy or another check of its
    tensors.
    """

    def __init__(self, folder: Path, manifest: Manifest, recipe: Recipe) -> None:
        self.folder = folder
        self.manifest = manifest
        self.recipe = recipe
        self.dropped = False
        self.checked = False
        """Whether its method has loaded its files, which are always the same bytes, on its base."""
        self._tree: BareTree | None = None
        self._encoder: TextEncoder | None = None

    @property
    def has_modules(self) -> bool:
        """Whether it was attached once and has not been forgotten since."""
        return self._tree is not None

    @property
    def encoder(self) -> TextEncoder:
        """Encoder of texts; valid while the adapter is attached."""
        assert self._encoder is not None  # noqa: S101 - `put_into` has run
        return self._encoder

    def put_into(self, backbone: Backbone) -> None:
        """Attach the adapter to the bare model.

        Raises:
            InputError: If the files changed since the run was read or do not fit; the model is bare then.
        """
        if self._tree is not None:
            self._tree.restore()
            return
        section = self.recipe.backbone
        frozen = list(backbone.model.modules())
        try:
            tuned = load_adapter(self.folder, self.manifest, self.recipe, backbone)
            encoder = backbone.reads(section).encoder(tuned, frozen)
            encoder = encoder.to(backbone.device).eval().requires_grad_(False)
        except BaseException:
            backbone.detach()
            raise
        self._encoder, self._tree, self.checked = encoder, BareTree(backbone.model), True

    def forget(self) -> None:
        """Delete the modules."""
        self._encoder, self._tree = None, None


def load_adapter(folder: Path, manifest: Manifest, recipe: Recipe, backbone: Backbone) -> nn.Module:
    """Attach a run's adapter to the bare model from files that are verified and that nobody else can change.

    The verified bytes are copied into a folder of this process: an adapter method reads files, and those in the run
    folder can be replaced between verifying and reading, or overwritten while a tensor is still mapped to them.

    Args:
        folder: Run folder.
        manifest: Its manifest.
        recipe: Its recipe, which names the adapter method.
        backbone: The base; the caller detaches the adapter after an error.

    Returns:
        The model with the adapter inside.

    Raises:
        InputError: If the files are not those of the manifest, or the adapter does not fit.
    """
    choice = recipe.adapter
    with adapter_files(folder, manifest, backbone) as place:
        tuned: nn.Module = registry.get("adapters", choice.method)(choice.config).load(backbone, place)
        return tuned


@contextlib.contextmanager
def adapter_files(folder: Path, manifest: Manifest, backbone: Backbone) -> Iterator[Path]:
    """Copy a run's adapter, verified, into a folder of this process that is there inside the block.

    Args:
        folder: Run folder; messages of the block name it in place of the copy's.
        manifest: Its manifest.
        backbone: The base, whose size bounds that of the files.

    Raises:
        InputError: If the files are not those of the manifest.
    """
    sealed = SealedFolder(folder, manifest)
    room = SLACK_BYTES + BYTES_OF_PARAMETER * sum(parameter.numel() for parameter in backbone.model.parameters())
    with tempfile.TemporaryDirectory(prefix="llmrec-adapter-") as place:
        try:
            for name in FILES:
                sealed.copy(name, Path(place) / name, room)
        except OSError as error:
            raise InputError(f"{place}: {error.strerror or error}; the adapter's files are copied there") from None
        try:
            yield Path(place)
        except InputError as error:
            raise InputError(str(error).replace(place, str(folder))) from None


def require_version(run: Path, manifest: Manifest, digest: str) -> None:
    """Refuse a run that is not the one that a job was begun with.

    Raises:
        InputError: Naming both versions.
    """
    if manifest.digest != digest:
        raise InputError(
            f"{run}: the run here is {manifest.digest[:12]}, and not {digest[:12]}, with which the job was begun"
        )


class LanguageModel:
    """The base of one or many tenants; loaded when the first text is encoded.

    Adapters of different methods cannot be stacked, and a switch during another tenant's pass would answer him with
    the wrong weights. So one adapter is attached at a time, and it stays attached as long as the block of `inside`
    runs.
    """

    def __init__(self, section: BackboneSection, recorded: dict[str, str | None], device: torch.device) -> None:
        """Set what to load.

        Args:
            section: Location of the base; the recorded number format takes precedence over its precision.
            recorded: Identity that the base must have.
            device: Where to load it.
        """
        computed = recorded.get("compute")
        self._section = section.model_copy(update={"precision": computed}) if computed else section
        self.recorded = dict(recorded)
        self._runs_code = decided(section)  # once, by whoever opens the run: the base is loaded later, in any thread
        self._device = device
        self._backbone: Backbone | None = None
        self._inside: TenantAdapter | None = None
        self._retired: deque[TenantAdapter] = deque()
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

    def require_code(self, section: BackboneSection, run: str) -> None:
        """Refuse a run that was trained on the base with its own Python code, where this one runs without, or opposite.

        Raises:
            InputError: Naming the field.
        """
        if decided(section) != self._runs_code:
            raise InputError(
                f"{run}: backbone.trust_remote_code is {section.trust_remote_code}, and the base in memory was loaded"
                " otherwise: load this run by itself"
            )

    @contextlib.contextmanager
    def inside(self, adapter: TenantAdapter) -> Iterator[tuple[Backbone, TextEncoder]]:
        """Attach this tenant's adapter to the base inside the block; other callers wait.

        Raises:
            InputError: If the base is not the recorded one, or the adapter does not fit.
        """
        try:
            with self._lock:
                backbone = self._loaded()
                if self._inside is not adapter:
                    backbone.detach()
                    self._inside = None
                    adapter.put_into(backbone)
                    self._inside = adapter
                try:
                    yield backbone, adapter.encoder
                finally:
                    if adapter.dropped:  # a call that began before the run was detached
                        self._take_out(adapter)
        finally:
            self._sweep()

    @contextlib.contextmanager
    def bare(self) -> Iterator[Backbone]:
        """Yield the base without an adapter inside the block; other callers wait."""
        with self._lock:
            backbone = self._loaded()
            backbone.detach()
            self._inside = None
            yield backbone

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let other callers wait inside the block, as they do while texts are encoded: the tokenizer is shared, too."""
        with self._lock:
            yield

    def set_aside(self, adapter: TenantAdapter) -> None:
        """Free an adapter's modules; they are made of its files again when it is attached the next time."""
        with self._lock:
            self._take_out(adapter)

    def drop(self, adapter: TenantAdapter) -> None:
        """Remove an adapter for good and free its memory."""
        with self._lock:
            adapter.dropped = True
            self._take_out(adapter)
        gc.collect()  # modules of adapters refer to each other in cycles, which would stay until some later collection

    def retire(self, adapter: TenantAdapter) -> None:
        """Remove an adapter that nobody uses any more, without waiting for a pass of another one.

        While another adapter's texts are encoded, the adapter is left to the thread that encodes them. Its memory is
        free after Python's next collection of cycles, see `drop`.
        """
        adapter.dropped = True
        self._retired.append(adapter)
        self._sweep()

    def _sweep(self) -> None:
        """Take out what was retired, unless another thread is inside, which does so when it leaves."""
        while self._retired and self._lock.acquire(blocking=False):
            try:
                with contextlib.suppress(IndexError):
                    while True:
                        self._take_out(self._retired.popleft())
            finally:
                self._lock.release()

    def _take_out(self, adapter: TenantAdapter) -> None:
        if self._inside is adapter and self._backbone is not None:
            self._backbone.detach()
            self._inside = None
        adapter.forget()

    def _loaded(self) -> Backbone:
        if self._backbone is None:
            with allowing(self._runs_code):
                backbone = load_backbone(self._section, self._device)
            require_base(backbone.identity.plain(), self.recorded, "the run")
            self._backbone = backbone
        return self._backbone
