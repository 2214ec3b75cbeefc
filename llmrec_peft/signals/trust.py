"""Trust: what the people whom a user trusts, follows or is a friend of say about him."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from llmrec_peft.data.links import Direction
from llmrec_peft.options import Options
from llmrec_peft.signals.contract import Signal, SignalContext

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor, nn

    from llmrec_peft.data.batches import Batch


class TrustOptions(Options):
    """Options of the trust signal."""

    direction: Direction = "out"
    """Whose vectors a user gets: of those whom he links to (`out`), of those who link to him (`in`), or of `both`."""
    people: bool = True
    """Whether each user has a vector that those linked to him get."""
    history: bool = True
    """Whether users also get what their neighbours interacted with, as the sum of a vector for each item."""
    longest_history: int = Field(default=256, ge=1)
    """Interactions of a neighbour that are summed, the newest."""
    most_neighbours: int = Field(default=1024, ge=1)
    """Neighbours of a user that are summed; of more, those with the largest indices."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Probability that a number of the neighbours' sum is left out in a training step."""
    init_std: float = Field(default=0.05, ge=0.0)
    """Standard deviation of the tables' initial values."""

    @model_validator(mode="after")
    def _of_use(self) -> Self:
        if not self.people and not self.history:
            raise ValueError("with neither people nor history a neighbour has no vector: switch one of them on")
        return self


class Trust(Signal[TrustOptions]):
    """user = (n + 1)^-½ Σ_v (W_v + (m_v + 1)^-½ Σ_j Y_j), offset = (n + 1)^-½ Σ_v b_v + w · (means over v).

    The sums run over the n neighbours v of the user, and over the m_v items j that v interacted with in training. The
    means are those of v's residuals (label less the mean and less the item's shrunk mean), once plain and once times
    log(1 + m_v); w is learnt from 0. So a user without interactions, whom every other signal takes for the average
    user, is placed by those whom he trusts. No sum contains an example of the user himself.

    A saved run has one vector and one offset for each user: the links are about people and stay out of it.

    References:
        Guo et al., TrustSVD: Collaborative Filtering with Both the Explicit and Implicit Influence of User Trust and of
        Item Ratings, AAAI 2015 (W).
    """

    summary: ClassVar[str] = "what those whom a user trusts, follows or is a friend of met, and how they rate"
    Config: ClassVar[type[Options]] = TrustOptions
    user_tables: ClassVar[tuple[str, ...]] = ("folded.user", "folded.user_offset")
    reads_links: ClassVar[bool] = True

    def build(self, context: SignalContext) -> nn.ModuleDict:
        """Make W, Y, b and w, and the neighbours' index; or one empty row for each user when loading."""
        from torch import nn

        from llmrec_peft.signals.parts.linked_users import LinkedUsers
        from llmrec_peft.signals.parts.row_table import RowTable

        if context.train is None:
            return nn.ModuleDict({"folded": _tables(context.num_users, context.dim)})
        config = self.config
        links = context.user_links.towards(config.direction)
        sizes = (context.num_users, context.num_items)
        linked = LinkedUsers(links, context.train, *sizes, config.most_neighbours, config.longest_history)
        parts: dict[str, Any] = {"linked": linked, "bias": RowTable(context.num_users, 1)}
        nn.init.zeros_(parts["bias"].weight)
        parts["statistics"] = nn.Linear(linked.statistics.shape[1], 1, bias=False)
        nn.init.zeros_(parts["statistics"].weight)
        for name, rows in (("people", sizes[0]), ("history", sizes[1])):
            if getattr(config, name):
                parts[name] = RowTable(rows, context.dim)
                nn.init.normal_(parts[name].weight, std=config.init_std)
        parts["dropout"] = nn.Dropout(config.dropout)
        return nn.ModuleDict(parts)

    def user(self, batch: Batch) -> Tensor:
        """Return sums over the users' neighbours, [B, dim]; zero for a user without neighbours."""
        if "folded" in self.parts:
            return self._folded("user", batch.user)
        return self._vectors(batch.user)

    def user_offset(self, batch: Batch) -> Tensor:
        """Return what the users' neighbours add to all of their scores, [B]."""
        if "folded" in self.parts:
            return self._folded("user_offset", batch.user)
        return self._offsets(batch.user)

    def fold(self) -> None:
        """Fill one table of vectors and one of offsets; drop links, neighbours' interactions and what is learnt."""
        import torch
        from torch import nn

        if "folded" in self.parts:
            return
        users = torch.arange(len(self.parts["bias"].weight), device=self.parts["bias"].weight.device)
        training = self.parts.training
        self.parts.eval()
        with torch.no_grad():
            tables = {"user": self._vectors(users), "user_offset": self._offsets(users)}
        for name in list(self.parts):
            del self.parts[name]
        folded = {name: nn.Parameter(table, requires_grad=False) for name, table in tables.items()}
        self.parts["folded"] = nn.ParameterDict(folded)
        self.parts.train(training)

    def report(self) -> dict[str, Any]:
        """Return how many users have neighbours, and the weights of the neighbours' mean residuals."""
        if "folded" in self.parts:
            return {}
        weights = self.parts["statistics"].weight.detach()[0].tolist()
        return {
            "users_with_neighbours": self.parts["linked"].linked,
            "weights_of_means": [round(weight, 4) for weight in weights],
        }

    def _vectors(self, users: Tensor) -> Tensor:
        people = self.parts["people"] if self.config.people else None
        history = self.parts["history"] if self.config.history else None
        sums: Tensor = self.parts["linked"].vectors(users, people, history)
        dropped: Tensor = self.parts["dropout"](sums)
        return dropped

    def _offsets(self, users: Tensor) -> Tensor:
        linked = self.parts["linked"]
        counted: Tensor = self.parts["statistics"](linked.statistics[users]).squeeze(-1)
        biases: Tensor = linked.vectors(users, self.parts["bias"], None).squeeze(-1)
        return counted + biases

    def _folded(self, name: str, users: Tensor) -> Tensor:
        rows: Tensor = self.parts["folded"][name][users]
        return rows


def _tables(users: int, dim: int) -> nn.ParameterDict:
    """Return the tables of a folded signal, to be filled."""
    import torch
    from torch import nn

    shapes: dict[str, tuple[int, ...]] = {"user": (users, dim), "user_offset": (users,)}
    return nn.ParameterDict({n: nn.Parameter(torch.zeros(size), requires_grad=False) for n, size in shapes.items()})
