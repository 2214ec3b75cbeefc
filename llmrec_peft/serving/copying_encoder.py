"""CopyingEncoder: a mixed encoder whose adapters come back into slots from host memory, and not from their files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from llmrec_peft.serving.host_copies import HostCopies
from llmrec_peft.serving.mixing.mixed_encoder import Admitted, MixedEncoder

if TYPE_CHECKING:
    from llmrec_peft.backbone.batched import BatchedForm, Slot
    from llmrec_peft.run.language_model import LanguageModel, TenantAdapter
    from llmrec_peft.serving.mixing.slots import Seat, Slots


class CopyingEncoder(MixedEncoder):
    """Encodes texts of many tenants, and keeps copies of what their adapters filled slots with.

    One thread admits.
    """

    def __init__(self, language: LanguageModel, slots: Slots, copies: HostCopies) -> None:
        """Set what encodes.

        Args:
            language: The base.
            slots: Memory for adapters, on the base's device.
            copies: Memory for their copies.
        """
        super().__init__(language, slots)
        self.copies = copies
        self._digest = ""

    def admit(self, tenant: TenantAdapter, make_room: Callable[[], bool] | None = None) -> Admitted:
        """Put a tenant's adapter into a slot, from its copy if there is one; else as `MixedEncoder` does.

        Raises:
            NoRoomError: If no memory is left for now.
            InputError: If its files do not fit.
        """
        digest = tenant.manifest.digest
        copy = self.copies.find(digest)
        if copy is None:
            self._digest = digest
            return super().admit(tenant, make_room)
        with self._language.bare() as backbone:
            reader = backbone.reads(tenant.recipe.backbone)
            seat = super()._seat(copy.form, copy.slots(self.slots.device), make_room)
        if seat is None:
            raise ValueError(f"run {digest[:12]}: its adapter was in a slot before, and no slot has room for it now")
        tenant.checked = True  # by its method, when the copy was made
        (front,) = self.slots.fronts([seat])
        return Admitted(tenant, seat, None, reader, front[1] if front is not None and front[0] == "embeddings" else 0)

    def _seat(self, form: BatchedForm, slots: Mapping[str, Slot], make_room: Callable[[], bool] | None) -> Seat | None:
        """Return a slot that was filled, and keep a copy of what filled it."""
        copied = self.copies.copy(form, slots)
        seat = super()._seat(form, slots, make_room)
        if seat is not None and copied is not None:
            self.copies.keep(self._digest, copied)
        return seat
