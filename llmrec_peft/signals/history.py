"""History: the last items of a user's history, as one vector that is compared with the item's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from llmrec_peft.errors import InputError
from llmrec_peft.options import Options
from llmrec_peft.signals.contract import Signal, SignalContext
from llmrec_peft.signals.parts.repeats import item_repeats, occurrences, put, repeat_rates, user_repeats

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmrec_peft.data.batches import Batch
    from llmrec_peft.data.interactions import Interactions


class HistoryOptions(Options):
    """Options of the history signal."""

    pooling: Literal["mean", "recency", "attention", "gru"] = "recency"
    """How entries become one vector: `mean`; `recency`, a learnt weight for each place counted from the newest
    (initially 1, 1/2, 1/3, ...); learnt `attention`; or a `gru` over their order."""
    length: int = Field(default=10, ge=1, le=1000)
    """Entries read, the newest; at most data.history_length."""
    entries: Literal["text", "ids", "both"] = "text"
    """What represents an item: its text's vector (`text`), a row of a trained table (`ids`), or the sum of `both`."""
    projection: Literal["linear", "low-rank", "identity"] = "linear"
    """How text vectors are mapped to the fusion's width: `linear`, a map for entries and one for items; or, if the
    fusion is as wide as the text vectors, `identity` (unchanged) or `low-rank`, a learnt change shared by both."""
    rank: int = Field(default=16, ge=1, le=1024)
    """Rank of the change (`low-rank`)."""
    labels: bool = True
    """Whether an entry is weighted by its label: liked items attract, disliked ones repel."""
    repeats: Literal["none", "place", "rates"] = "none"
    """Bonus for an item that stands in the user's own history: `place`, a learnt bonus for each place of the
    history; `rates`, in addition by how often people repeat the item, how often the user repeats items, and how
    often he has taken this one; `none`."""
    closest: bool = False
    """Whether the entry most similar to the item adds a term of its own to the pooled ones."""
    scale: float = Field(default=1.0, gt=0.0, le=100.0)
    """Initial factor on the product of user and item vectors; it is learnt."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout on text vectors."""
    init_std: float = Field(default=0.02, ge=0.0)
    """Standard deviation of initial weights and table rows."""


class History(Signal[HistoryOptions]):
    """user = s · pool_j(l_j Q z_j) over the last items j, item = P z_i, cross = Σ r_j [i = j] + m max_j ⟨Q z_j, P z_i⟩.

    z is an item's text vector (as the encoder returns it), its row of a table, or their sum; Q and P are linear, the
    identity, or both I + A B with B = 0 at the start, so that training starts from the cosine of texts. l_j is 1, or
    with labels a + b · (label − mean), with a and b learnt. An empty history is the zero vector.

    References:
        Hidasi et al., Session-based Recommendations with Recurrent Neural Networks, ICLR 2016 (`gru`).
        Kang and McAuley, Self-Attentive Sequential Recommendation, ICDM 2018 (attention over a history).
        Hou et al., Towards Universal Sequence Representation Learning for Recommender Systems, KDD 2022 (texts).
    """

    summary: ClassVar[str] = "the user's last items, by text or id, pooled by place, attention or GRU"
    Config: ClassVar[type[Options]] = HistoryOptions
    user_tables: ClassVar[tuple[str, ...]] = ()
    reads_history: ClassVar[bool] = True

    def uses_text(self) -> bool:
        """Return whether texts are read: not if ids represent items."""
        return self.config.entries != "ids"

    def without_text(self) -> HistoryOptions:
        """Return the options with table rows for items; without the nearest entry, which compares texts."""
        return self.config.model_copy(update={"entries": "ids", "closest": False})

    def build(self, context: SignalContext) -> nn.ModuleDict:
        """Make maps, tables, the pooling's weights, and the weights of labels and repeats."""
        import torch
        from torch import nn

        from llmrec_peft.signals.parts.row_table import RowTable

        dim, length = context.dim, min(self.config.length, context.history_length)
        self._dim = dim
        parts: dict[str, Any] = {"dropout": nn.Dropout(self.config.dropout)}
        scale = {"log_scale": nn.Parameter(torch.tensor([self.config.scale]).log())}
        if self.uses_text():
            parts |= self._maps(self._width(context), dim)
        if self.config.entries != "text":
            parts["table"] = RowTable(context.num_items, dim)
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
        if self.config.repeats != "none":
            scale["repeat"] = nn.Parameter(torch.zeros(length))
        if self.config.repeats == "rates":
            scale["again"] = nn.Parameter(torch.tensor([1.0, 1.0, 0.0]))
            parts["again"] = repeat_rates(context)
        if self.config.closest:
            scale["closest"] = nn.Parameter(torch.zeros(1))
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
                f"signals.history.projection: {self.config.projection} keeps the text vectors' width {width},"
                f" the fusion has {dim}; set fusion.dim={width}, or projection=linear"
            )
        if self.config.projection == "identity":
            return {}
        down, up = nn.Linear(width, self.config.rank, bias=False), nn.Linear(self.config.rank, width, bias=False)
        nn.init.normal_(down.weight, std=width**-0.5)
        nn.init.zeros_(up.weight)
        return {"down": down, "up": up}

    def _mapped(self, texts: Tensor, side: str) -> Tensor:
        parts = self.parts
        texts = parts["dropout"](texts)
        mapped: Tensor = texts
        if self.config.projection == "low-rank":
            mapped = texts + parts["up"](parts["down"](texts))
        elif self.config.projection == "linear":
            mapped = parts[side](texts)
        return mapped

    def _vectors(self, items: Tensor, texts: Tensor | None, side: str) -> Tensor:
        """Return vectors of items, [..., dim]."""
        terms = []
        if self.uses_text():
            assert texts is not None  # noqa: S101 - see `uses_text`
            terms.append(self._mapped(texts, side))
        if "table" in self.parts:
            terms.append(self.parts["table"](items))
        return terms[0] if len(terms) == 1 else terms[0] + terms[1]

    def item(self, batch: Batch) -> Tensor:
        """Return vectors of the scored items, [B, dim]."""
        return self._vectors(batch.item, batch.vectors.get("item"), "item")

    def user(self, batch: Batch) -> Tensor:
        """Return pooled vectors of histories, [B, dim]."""
        items, texts, labels = self._newest(batch)
        scale = self.parts["scale"]
        if items.shape[1] == 0:
            nothing: Tensor = scale["log_scale"].new_zeros(len(items), self._dim) * scale["log_scale"]
            return nothing
        entries = self._vectors(items, texts, "entry")
        there = (items > 0).to(entries.dtype)
        weight = there if labels is None else there * self._label_weight(labels)
        pooled = self._pooled(entries, there, weight)
        scaled: Tensor = scale["log_scale"].exp() * pooled
        return scaled

    def _pooled(self, entries: Tensor, there: Tensor, weight: Tensor) -> Tensor:
        """Pool entries [B, L, dim] into one vector per row, given which of them exist and their weights."""
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
        """Return the GRU's state after the newest entry; missing entries, wherever they stand, are moved behind it."""
        import torch

        rows = len(entries)
        count = there.sum(1).long()
        place = torch.argsort(there, dim=1, descending=True, stable=True)
        moved = entries.gather(1, place.unsqueeze(-1).expand_as(entries))
        states, _ = self.parts["gru"](moved)
        last: Tensor = states[torch.arange(rows, device=entries.device), (count - 1).clamp(min=0)]
        return last * (count > 0).unsqueeze(-1)

    def cross(self, batch: Batch, candidates: Tensor) -> Tensor | None:
        """Return the bonus for items in the own history, plus that of the most similar entry, [B, C]."""
        terms = [self._repeats(batch, candidates)] if self.config.repeats != "none" else []
        if self.config.closest:
            terms.append(self._closest(batch, candidates))
        return terms[0] + terms[1] if len(terms) > 1 else terms[0] if terms else None

    def _repeats(self, batch: Batch, candidates: Tensor) -> Tensor:
        import torch

        assert batch.history is not None  # noqa: S101 - see `reads_history`
        history, scale = batch.history, self.parts["scale"]
        bonus = scale["repeat"][: history.shape[1]].flip(0)
        place = bonus.new_zeros(history.shape[1] - len(bonus))
        worth = torch.cat([place, bonus]).expand(history.shape)
        if self.config.repeats == "rates":
            weight, rates = scale["again"], self.parts["again"]
            count, first = occurrences(history)
            rate = weight[0] * rates["item"][history] + weight[1] * user_repeats(history, first, rates["mean"])
            worth = worth + first * (rate + weight[2] * count.log())
        return put(history, candidates, worth)

    def _closest(self, batch: Batch, candidates: Tensor) -> Tensor:
        items, texts, _ = self._newest(batch)
        if items.shape[1] == 0:
            nothing: Tensor = self.parts["scale"]["closest"].new_zeros(len(items), candidates.shape[1])
            return nothing
        entries = self._vectors(items, texts, "entry")
        if batch.candidates is not None:
            compared = self._vectors(candidates[0], batch.vectors.get("candidates"), "item")
            alike = self._most_alike(entries, items > 0, compared)
        else:
            own = self._vectors(batch.item, batch.vectors.get("item"), "item")
            each = (entries * own.unsqueeze(1)).sum(-1, keepdim=True)
            there = (items > 0).any(1, keepdim=True)
            alike = each.masked_fill((items == 0).unsqueeze(-1), -1e4).amax(1) * there
        best: Tensor = self.parts["scale"]["closest"] * alike
        return best

    @staticmethod
    def _most_alike(entries: Tensor, there: Tensor, compared: Tensor) -> Tensor:
        """Return the largest product of each candidate [C, dim] with an entry [B, L, dim], [B, C]; 0 for no entries."""
        import torch

        products = entries[there] @ compared.T  # most histories are short: missing entries cost nothing here
        row = there.nonzero()[:, 0]
        index = row.unsqueeze(1).expand_as(products)
        best = products.new_full((len(entries), len(compared)), -torch.inf).scatter_reduce(0, index, products, "amax")
        return torch.where(best > -torch.inf, best, torch.zeros_like(best))

    def remember(self, train: Interactions) -> None:
        """Use other interactions as the known ones for the rates at which items are repeated."""
        import torch

        if self.config.repeats == "rates":
            rates = item_repeats(train, len(self.parts["again"]["item"]))
            with torch.no_grad():
                for name, value in rates.items():
                    self.parts["again"][name].copy_(torch.from_numpy(value))

    def _newest(self, batch: Batch) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return items, texts and labels of the entries that are read, newest last."""
        assert batch.history is not None  # noqa: S101 - see `reads_history`
        length = self.config.length
        texts, labels = batch.vectors.get("history"), batch.history_label
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

    def _width(self, context: SignalContext) -> int:
        """Return the width of the text vectors."""
        if context.saved is not None:
            name = {"linear": "entry.weight", "low-rank": "down.weight"}.get(self.config.projection)
            return context.dim if name is None else int(context.saved[name].shape[1])
        return int(context.item_text.shape[1])

    def report(self) -> dict[str, Any]:
        """Return the scale and the weights of places (from the newest on), of labels and of repeats."""
        import torch

        scale = {name: value.detach() for name, value in self.parts["scale"].items()}
        figures: dict[str, Any] = {"scale": round(float(scale["log_scale"].exp()), 4)}
        if "place" in scale:
            figures["place"] = [round(float(share), 4) for share in torch.softmax(scale["place"], dim=0)]
        for name in ("label", "repeat", "again", "closest"):
            if name in scale:
                figures[name] = [round(float(value), 4) for value in scale[name]]
        return figures
