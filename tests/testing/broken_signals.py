"""Signals that each break one rule, and sound ones that they are made from."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydantic import ConfigDict

from llmrec_peft.options import Options
from llmrec_peft.signals.contract import Signal


class NoOptions(Options):
    """Nothing to choose."""


class _Bare(Options):
    spoken: int = 1


class _Loose(Options):
    model_config = ConfigDict(extra="allow")


class Sound(Signal[NoOptions]):
    """Rows and biases of users and items, and how many interactions an item had, forgotten one by one."""

    summary = "sound"
    Config = NoOptions

    def build(self, context: Any) -> Any:
        import torch
        from torch import nn

        sizes = {"user": context.num_users, "item": context.num_items}
        parts: dict[str, Any] = {name: nn.Embedding(rows, context.dim) for name, rows in sizes.items()}
        parts |= {f"{name}_bias": nn.Embedding(rows, 1) for name, rows in sizes.items()}
        for table in parts.values():
            nn.init.normal_(table.weight, std=0.1)
        counts = torch.zeros(context.num_items)
        if context.train is not None:
            counts = torch.from_numpy(context.train.counts_by_item(context.num_items)).float()
        parts["frozen"] = nn.ParameterDict({"count": nn.Parameter(counts.log1p(), requires_grad=False)})
        return nn.ModuleDict(parts)

    def user(self, batch: Any) -> Any:
        return self.parts["user"](batch.user)

    def item(self, batch: Any) -> Any:
        return self.parts["item"](batch.item)

    def user_offset(self, batch: Any) -> Any:
        return self.parts["user_bias"](batch.user).squeeze(-1)

    def item_offset(self, batch: Any) -> Any:
        return self.parts["item_bias"](batch.item).squeeze(-1) + 0.1 * self.parts["frozen"]["count"][batch.item]


class AnswersByLearningParts(Sound):
    """Says that no answer reads a table that answers read."""

    learning_parts = ("user_bias",)


class UndocumentedOption(Sound):
    """Has an option that nobody explains."""

    Config = _Bare


class TakesAnything(Sound):
    """Takes options that it does not know."""

    Config = _Loose


class TooWide(Sound):
    """Hands over wider vectors than the fusion has."""

    def item(self, batch: Any) -> Any:
        import torch

        return torch.cat([super().item(batch)] * 2, dim=1)


class NotFiniteForTheUnknown(Sound):
    """Divides by what an unknown item does not have."""

    def offset(self, batch: Any) -> Any:
        return super().offset(batch) / (batch.item > 0)


class SaysNothing(Sound):
    """Has parts and says nothing."""

    def user(self, batch: Any) -> Any:
        return None

    item = offset = user


class ReadsUndeclared(Sound):
    """Reads texts and does not say so."""

    def item(self, batch: Any) -> Any:
        return super().item(batch) + batch.vectors["item"][:, :8]


class Restless(Sound):
    """Adds noise in evaluation."""

    def user(self, batch: Any) -> Any:
        import torch

        vectors = super().user(batch)
        return vectors + 0.01 * torch.rand_like(vectors)


class LeaksTheLabel(Sound):
    """Adds the label where there is one."""

    def offset(self, batch: Any) -> Any:
        offset = super().offset(batch)
        return offset if batch.label is None else offset + batch.label


class CentredInBatch(Sound):
    """Takes the batch's mean out."""

    def item(self, batch: Any) -> Any:
        vectors = super().item(batch)
        return vectors - vectors.mean(0)


class ItemsKnowWhoAsks(Sound):
    """Adds the user to the item."""

    def item(self, batch: Any) -> Any:
        return super().item(batch) + self.parts["user"](batch.user)


class UsersKnowWhatIsAsked(Sound):
    """Adds the item to the user."""

    def user(self, batch: Any) -> Any:
        return super().user(batch) + self.parts["item"](batch.item)


class CrossInOffset(Sound):
    """Puts into the offset what a user and an item add together."""

    def offset(self, batch: Any) -> Any:
        return super().offset(batch) + (self.parts["user"](batch.user) * self.parts["item"](batch.item)).sum(-1)


class CrossDiffers(Sound):
    """Says of a pair what it does not say among candidates."""

    def cross(self, batch: Any, candidates: Any) -> Any:
        found = self.parts["item_bias"](candidates).squeeze(-1).expand(len(batch), -1)
        return found * (2.0 if batch.candidates is not None else 1.0)


class CountsPadding(Sound):
    """Takes the mean over all places of a history."""

    reads_history = True

    def user(self, batch: Any) -> Any:
        there = (batch.history > 0).unsqueeze(-1)
        return super().user(batch) + (self.parts["item"](batch.history) * there).sum(1) / max(1, batch.history.shape[1])


class EmptyHistoryIsNothing(Sound):
    """Divides by the length of a history."""

    reads_history = True

    def user(self, batch: Any) -> Any:
        there = (batch.history > 0).unsqueeze(-1)
        return super().user(batch) + (self.parts["item"](batch.history) * there).sum(1) / there.sum(1)


class WritesIntoBatch(Sound):
    """Maps the unknown item to the first one where it stands."""

    def item(self, batch: Any) -> Any:
        batch.item.clamp_(min=1)
        return super().item(batch)


class NotSeeded(Sound):
    """Draws from a generator of its own."""

    def build(self, context: Any) -> Any:
        import torch

        generator = torch.Generator()
        generator.seed()
        parts = super().build(context)
        with torch.no_grad():
            parts["user"].weight.add_(0.01 * torch.randn(parts["user"].weight.shape, generator=generator))
        return parts


class CarriesNothing(Sound):
    """The same for all users and items."""

    def user(self, batch: Any) -> Any:
        return self.parts["user"](0 * batch.user)

    def item(self, batch: Any) -> Any:
        return self.parts["item"](0 * batch.item)

    def user_offset(self, batch: Any) -> Any:
        return self.parts["user_bias"](0 * batch.user).squeeze(-1)

    def item_offset(self, batch: Any) -> Any:
        return self.parts["item_bias"](0 * batch.item).squeeze(-1)


class LearnsTheAnswerByHeart(Sound):
    """Reads each example's label while it is trained, and knows nothing afterwards."""

    def user(self, batch: Any) -> Any:
        return None

    def item(self, batch: Any) -> Any:
        return None

    def user_offset(self, batch: Any) -> Any:
        return None

    def item_offset(self, batch: Any) -> Any:
        scale = self.parts["item_bias"](0 * batch.item).squeeze(-1)
        return scale * (batch.label if self.parts.training and batch.label is not None else 3.0)


class IdlePart(Sound):
    """Has a table that nothing reads."""

    def build(self, context: Any) -> Any:
        from torch import nn

        parts = super().build(context)
        parts["idle"] = nn.Embedding(3, 3)
        return parts


class PenaltyOfEach(Sound):
    """Does not reduce its penalty."""

    def penalty(self, batch: Any) -> Any:
        return self.parts["item"](batch.item).square().mean(0)[:1]


class ReportsTensor(Sound):
    """Reports what JSON does not hold."""

    def report(self) -> dict[str, Any]:
        return {"bias": self.parts["item_bias"].weight}


class FoldsAway(Sound):
    """Forgets too much."""

    def fold(self) -> None:
        import torch

        with torch.no_grad():
            self.parts["item"].weight.zero_()


class KeepsInteractions(Sound):
    """Keeps what it was trained on."""

    def build(self, context: Any) -> Any:
        self.known = context.train
        return super().build(context)


class KeepsRows(Sound):
    """Keeps a row for each interaction in its parts."""

    def build(self, context: Any) -> Any:
        import torch
        from torch import nn

        parts = super().build(context)
        if context.train is not None:
            rows = torch.from_numpy(context.train.user)
            parts["met"] = nn.ParameterDict({"users": nn.Parameter(rows, requires_grad=False)})
        return parts


class KeepsMatrix(Sound):
    """Keeps all interactions as a matrix beside its parts."""

    def build(self, context: Any) -> Any:
        import torch

        if context.train is not None:
            index = torch.stack([torch.from_numpy(context.train.user), torch.from_numpy(context.train.item)])
            ones = torch.ones(index.shape[1])
            self.met = [torch.sparse_coo_tensor(index, ones, (context.num_users, context.num_items))]
        return super().build(context)


class KeepsANumberToItself(Sound):
    """Adds something that no tensor holds."""

    def build(self, context: Any) -> Any:
        self.shift = 0.0 if context.train is None else float(context.train.label.mean()) + 0.5
        return super().build(context)

    def offset(self, batch: Any) -> Any:
        return super().offset(batch) + self.shift


class NeedsTheData(Sound):
    """Cannot be built to be loaded."""

    def build(self, context: Any) -> Any:
        context.train.counts_by_item(context.num_items)
        return super().build(context)


class RemembersOtherwise(Sound):
    """Counts other interactions than it was trained on."""

    def remember(self, train: Any) -> None:
        import torch

        with torch.no_grad():
            self.parts["frozen"]["count"].zero_()


class FollowsByLearning(Sound):
    """Moves its weights where it should only take note."""

    def remember(self, train: Any) -> None:
        return

    def follow(self, batch: Any) -> None:
        import torch

        with torch.no_grad():
            self.parts["item_bias"].weight.add_(0.1)


class RefusesEverything(Sound):
    """Is of no use in any run."""

    def refusal(self, users: Collection[str], items: Collection[str], reads_prompt: bool) -> str | None:
        return "signals.broken: not today"


class BuildRaises(Sound):
    """Fails when it is built."""

    def build(self, context: Any) -> Any:
        raise RuntimeError("no")
