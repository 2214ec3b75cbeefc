"""History: the last items that a user met, as one vector that is compared with the item's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from llmrec_peft.errors import InputError
from llmrec_peft.options import Options
from llmrec_peft.signals.contract import Signal, SignalContext

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmrec_peft.data.batches import Batch


class HistoryOptions(Options):
    """Options of the history signal."""

    pooling: Literal["mean", "recency", "attention", "gru"] = "recency"
    """How entries become one vector: their `mean`; by a learnt weight for each place counted from the newest
    (`recency`, starting at 1, 1/2, 1/3, ...); by learnt `attention`; by a `gru` over their order."""
    length: int = Field(default=10, ge=1, le=1000)
    """Entries looked at, the newest; at most data.history_length."""
    entries: Literal["text", "ids", "both"] = "text"
    """What stands for an item: its text's vector, a row of a table, or both added."""
    projection: Literal["linear", "low-rank"] = "linear"
    """How text vectors come into the fusion's width: a `linear` map each for entries and items, or, where the
    fusion is as wide as the text vectors, the identity with a `low-rank` change, the same for both."""
    rank: int = Field(default=16, ge=1, le=1024)
    """Rank of the change (`low-rank`)."""
    labels: bool = True
    """Whether an entry counts by its label too: a liked one draws near, a disliked one pushes away."""
    repeats: bool = False
    """Whether an item that stands in the user's own history gets a learnt bonus for each place it stands at."""
    scale: float = Field(default=1.0, gt=0.0, le=100.0)
    """What the product of user and item vectors starts being multiplied by; it is learnt."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout on text vectors."""
    init_std: float = Field(default=0.02, ge=0.0)
    """Spread of initial weights and table rows."""


class History(Signal[HistoryOptions]):
    """user = s · pool_j(l_j Q z_j) over the last items j, item = P z_i, cross = Σ_j r_j [i = item j].

    z is an item's text vector (as the encoder gives it), its row of a table, or both; Q and P are linear, or
    both I + A B with B from zero, so that training starts from the cosine of texts. l_j is 1, or with labels
    a + b · (label − mean) with a and b learnt. An empty history is the zero vector.

    References:
        Hidasi et al., Session-based Recommendations with Recurrent Neural Networks, ICLR 2016 (`gru`).
        Kang and McAuley, Self-Attentive Sequential Recommendation, ICDM 2018 (attention over a history).
        Hou et al., Towards Universal Sequence Representation Learning for Recommender Systems, KDD 2022 (texts).
    """

    summary: ClassVar[str] = "the user's last items, by text or id, pooled by place, attention or GRU"
    Config: ClassVar[type[Options]] = HistoryOptions
    reads_history: ClassVar[bool] = True

    def uses_text(self) -> bool:
        """Texts are read unless ids stand for items."""
        return self.config.entries != "ids"

    def build(self, context: SignalContext) -> nn.ModuleDict:
        """Make maps, tables, the pooling's weights, and the weights of labels and repeats."""
        import torch
        from torch import nn

        dim, length = context.dim, min(self.config.length, context.history_length)
        parts: dict[str, Any] = {"dropout": nn.Dropout(self.config.dropout)}
        scale = {"log_scale": nn.Parameter(torch.tensor([self.config.scale]).log())}
        if self.uses_text():
            parts |= self._maps(_width(context), dim)
        if self.config.entries != "text":
            parts["table"] = nn.Embedding(context.num_items, dim)
            nn.init.normal_(parts["table"].weight, std=self.config.init_std)
        if self.config.pooling == "recency":
            scale["place"] = nn.Parameter(-torch.arange(1, length + 1).float().log())
        elif self.config.pooling == "attention":
            parts["attention"] = nn.Sequential(nn.Linear(dim, dim), nn.Tanh(), nn.Linear(dim, 1, bias=False))
            scale["place"] = nn.Parameter(torch.zeros(length))
        elif self.config.pooling == "gru":
            parts["gru"] = nn.GRU(dim, dim, batch_first=True)
        if self.config.labels and context.task != "ranking":
            mean = 0.0 if context.train is None else float(context.train.label.mean())
            scale["label"] = nn.Parameter(torch.tensor([0.0, 1.0]))
            scale["mean"] = nn.Parameter(torch.tensor([mean]), requires_grad=False)
        if self.config.repeats:
            scale["repeat"] = nn.Parameter(torch.zeros(length))
        parts["scale"] = nn.ParameterDict(scale)
        return nn.ModuleDict(parts)

    def _maps(self, width: int, dim: int) -> dict[str, Any]:
        from torch import nn

        if self.config.projection == "linear":
            maps = {"entry": nn.Linear(width, dim, bias=False), "item": nn.Linear(width, dim, bias=False)}
            for projection in maps.values():
                nn.init.normal_(projection.weight, std=max(self.config.init_std, 1e-4))
            return maps
        if dim != width:
            raise InputError(
                f"signals.history.projection: low-rank keeps the text vectors' width {width}, the fusion has {dim};"
                f" set fusion.dim={width}, or projection=linear"
            )
        down, up = nn.Linear(width, self.config.rank, bias=False), nn.Linear(self.config.rank, width, bias=False)
        nn.init.normal_(down.weight, std=width**-0.5)
        nn.init.zeros_(up.weight)
        return {"down": down, "up": up}

    def _mapped(self, texts: Tensor, side: str) -> Tensor:
        parts = self.parts
        texts = parts["dropout"](texts)
        mapped: Tensor = texts + parts["up"](parts["down"](texts)) if "up" in parts else parts[side](texts)
        return mapped

    def _vectors(self, items: Tensor, texts: Tensor | None, side: str) -> Tensor:
        """Vectors of items, [..., dim]."""
        found = []
        if self.uses_text():
            assert texts is not None  # noqa: S101 - see `uses_text`
            found.append(self._mapped(texts, side))
        if "table" in self.parts:
            found.append(self.parts["table"](items))
        return found[0] if len(found) == 1 else found[0] + found[1]

    def item(self, batch: Batch) -> Tensor:
        """Vectors of the items compared with, [B, dim]."""
        return self._vectors(batch.item, batch.item_text, "item")

    def user(self, batch: Batch) -> Tensor:
        """Pooled vectors of histories, [B, dim]."""
        items, texts, labels = self._newest(batch)
        scale = self.parts["scale"]
        if items.shape[1] == 0:
            width = self.parts["table"].embedding_dim if "table" in self.parts else self._width_out()
            nothing: Tensor = scale["log_scale"].new_zeros(len(items), width) * scale["log_scale"]
            return nothing
        entries = self._vectors(items, texts, "entry")
        there = (items > 0).to(entries.dtype)
        weight = there if labels is None else there * self._label_weight(labels)
        pooled = self._pooled(entries, there, weight)
        scaled: Tensor = scale["log_scale"].exp() * pooled
        return scaled

    def _pooled(self, entries: Tensor, there: Tensor, weight: Tensor) -> Tensor:
        """One vector a row from entries [B, L, dim], which of them are there, and what each counts."""
        import torch

        kind, length = self.config.pooling, entries.shape[1]
        if kind == "gru":
            return self._last_state(entries * weight.unsqueeze(-1), there)
        if kind == "mean":
            share = there
        else:
            logits = self.parts["scale"]["place"][:length].flip(0)[None, :].expand_as(there)
            if kind == "attention":
                logits = logits + self.parts["attention"](entries).squeeze(-1)
            logits = logits.masked_fill(there == 0, -torch.inf)
            empty = (there.sum(1, keepdim=True) == 0).expand_as(logits)
            share = torch.softmax(logits.masked_fill(empty, 0.0), dim=1) * there
        share = share / share.sum(1, keepdim=True).clamp(min=1e-6)
        pooled: Tensor = ((share * weight).unsqueeze(-1) * entries).sum(1)
        return pooled

    def _last_state(self, entries: Tensor, there: Tensor) -> Tensor:
        """The GRU's state after the newest entry; padding stands first and is skipped by rolling it to the end."""
        import torch

        rows, length, _ = entries.shape
        count = there.sum(1).long()
        place = (torch.arange(length, device=entries.device)[None, :] + (length - count)[:, None]) % length
        rolled = entries.gather(1, place.unsqueeze(-1).expand_as(entries))
        states, _ = self.parts["gru"](rolled)
        last: Tensor = states[torch.arange(rows, device=entries.device), (count - 1).clamp(min=0)]
        return last * (count > 0).unsqueeze(-1)

    def cross(self, batch: Batch, candidates: Tensor) -> Tensor | None:
        """What standing in the own history adds, [B, C]."""
        import torch

        if not self.config.repeats:
            return None
        items, _, _ = self._newest(batch)
        bonus = self.parts["scale"]["repeat"][: items.shape[1]].flip(0)
        if candidates.shape[0] == 1:  # shared, and many: only the entries' own columns are touched
            highest = max(int(candidates.max()), int(items.max()) if items.numel() else 0)
            table = bonus.new_zeros(len(items), highest + 1)
            shared: Tensor = table.scatter_add(1, items, bonus.expand_as(items) * (items > 0))[:, candidates[0]]
            return shared
        same = (items.unsqueeze(1) == candidates.unsqueeze(-1)) & (items > 0).unsqueeze(1)
        return torch.where(same, bonus, torch.zeros_like(bonus)).sum(-1)

    def _newest(self, batch: Batch) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Items, texts and labels of the entries that are looked at, newest last."""
        assert batch.history is not None  # noqa: S101 - see `reads_history`
        length = self.config.length
        texts, labels = batch.history_text, batch.history_label
        weighs = "label" in self.parts["scale"] and labels is not None
        return (
            batch.history[:, -length:],
            None if texts is None else texts[:, -length:],
            labels[:, -length:] if weighs and labels is not None else None,
        )

    def _label_weight(self, labels: Tensor) -> Tensor:
        scale = self.parts["scale"]
        weight: Tensor = scale["label"][0] + scale["label"][1] * (labels - scale["mean"])
        return weight

    def _width_out(self) -> int:
        parts = self.parts
        return int(parts["up"].out_features if "up" in parts else parts["entry"].out_features)

    def report(self) -> dict[str, Any]:
        """Scale, weights of places from the newest on, of labels and of repeats."""
        import torch

        scale = self.parts["scale"]
        told: dict[str, Any] = {"scale": round(float(scale["log_scale"].exp()), 4)}
        if "place" in scale:
            told["place"] = [round(float(share), 4) for share in torch.softmax(scale["place"], dim=0)]
        for name in ("label", "repeat"):
            if name in scale:
                told[name] = [round(float(value), 4) for value in scale[name]]
        return told


def _width(context: SignalContext) -> int:
    """Width of the text vectors."""
    if context.saved is not None:
        for name in ("down.weight", "entry.weight"):
            if name in context.saved:
                return int(context.saved[name].shape[1])
        raise KeyError("entry.weight")
    assert context.text is not None  # noqa: S101 - the model encodes texts for a signal that reads them
    return int(context.text.shape[1])
