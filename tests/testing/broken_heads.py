"""Task heads that each break one rule, and sound ones that they are made from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import ConfigDict

from llmrec_peft.errors import InputError
from llmrec_peft.heads.click import ClickHead
from llmrec_peft.heads.contract import HeadOutput, Joined
from llmrec_peft.heads.ranking import RankingHead
from llmrec_peft.heads.rating import RatingHead
from llmrec_peft.options import Options


class Sound(RatingHead):
    """The rating head as it is."""

    summary = "sound"


class SoundClick(ClickHead):
    """The click head as it is."""

    summary = "sound"


class SoundRanking(RankingHead):
    """The ranking head as it is."""

    summary = "sound"


class Silent(Sound):
    summary = ""


class _Bare(Options):
    spoken: int = 1


class _Required(Options):
    needed: int
    """Has to be given."""


class _Loose(Options):
    model_config = ConfigDict(extra="allow")


class UndocumentedOption(Sound):
    """Has an option that nobody explains."""

    Config = _Bare


class RequiredOption(Sound):
    """Has an option without a default."""

    Config = _Required


class TakesAnything(Sound):
    """Takes options that it does not know."""

    Config = _Loose


class UnknownMetric(Sound):
    """Is chosen by a metric that ratings do not have."""

    metric = "auc"


class WrongDirection(Sound):
    """Says that more RMSE is better."""

    lower_is_better = False


class UnknownTask(Sound):
    """Answers something that nobody measures."""

    task = "guessing"


class _Changed(Sound):
    """Changes what the rating head says."""

    def forward(self, batch: Any, user: Joined, item: Joined) -> HeadOutput:
        return self.change(super().forward(batch, user, item), batch)

    def change(self, said: HeadOutput, batch: Any) -> HeadOutput:
        return said


class WrongShape(_Changed):
    """Scores [B, 1]."""

    def change(self, said: HeadOutput, batch: Any) -> HeadOutput:
        return HeadOutput(said.loss, said.scores[:, None])


class NeedsBothVectors(Sound):
    """Fails where no signal speaks of a side."""

    def forward(self, batch: Any, user: Joined, item: Joined) -> HeadOutput:
        return super().forward(batch, Joined(user.vector * 1.0, user.offset), item)


class NotDetached(_Changed):
    """Leaves the graph on the scores."""

    def change(self, said: HeadOutput, batch: Any) -> HeadOutput:
        return HeadOutput(said.loss, said.scores + 0.0 * self.parts["scale"]["mean"])


class LossWithoutLabels(_Changed):
    """Has a loss while scoring."""

    def change(self, said: HeadOutput, batch: Any) -> HeadOutput:
        return HeadOutput(said.scores.mean() if said.loss is None else said.loss, said.scores)


class LossOfEach(Sound):
    """Does not reduce its loss."""

    def forward(self, batch: Any, user: Joined, item: Joined) -> HeadOutput:
        said = super().forward(batch, user, item)
        return HeadOutput(None if said.loss is None else said.loss.expand(len(batch)), said.scores)


class PeeksAtLabels(_Changed):
    """Scores by the label where there is one."""

    def change(self, said: HeadOutput, batch: Any) -> HeadOutput:
        return said if batch.label is None else HeadOutput(said.loss, 0.5 * (said.scores + batch.label))


class Restless(_Changed):
    """Adds noise while scoring."""

    def change(self, said: HeadOutput, batch: Any) -> HeadOutput:
        import torch

        return HeadOutput(said.loss, said.scores + 0.01 * torch.rand(len(batch)))


class CentredInBatch(_Changed):
    """Takes the batch's mean out."""

    def change(self, said: HeadOutput, batch: Any) -> HeadOutput:
        return HeadOutput(said.loss, said.scores - said.scores.mean())


class ModesDiffer(SoundRanking):
    """Forgets the temperature in pairs."""

    def forward(self, batch: Any, user: Joined, item: Joined) -> HeadOutput:
        said = super().forward(batch, user, item)
        t = self.parts["scale"]["log_temperature"].exp().detach()
        return said if batch.candidates is not None else HeadOutput(said.loss, said.scores * t)


class WritesIntoBatch(Sound):
    """Centres the labels where they stand."""

    def forward(self, batch: Any, user: Joined, item: Joined) -> HeadOutput:
        said = super().forward(batch, user, item)
        if batch.label is not None:
            batch.label.sub_(0.5)
        return said


class IdlePart(Sound):
    """Has a parameter that nothing computes with."""

    def build(self, context: Any) -> Any:
        from torch import nn

        parts = super().build(context)
        parts["idle"] = nn.Linear(2, 2)
        return parts


class DeafToUsers(Sound):
    """Lets no gradient through to the users."""

    def forward(self, batch: Any, user: Joined, item: Joined) -> HeadOutput:
        vector = None if user.vector is None else user.vector.detach()
        return super().forward(batch, Joined(vector, user.offset), item)


class RawUpsideDown(Sound):
    """Explains its scores the wrong way round."""

    def raw(self, batch: Any, user: Joined, item: Joined) -> Any:
        return -super().raw(batch, user, item)


class KeepsANumberToItself(_Changed):
    """Adds something that no tensor holds."""

    def build(self, context: Any) -> Any:
        self.shift = 0.1 * context.label_mean
        return super().build(context)

    def change(self, said: HeadOutput, batch: Any) -> HeadOutput:
        return HeadOutput(said.loss, said.scores + self.shift)


class AsLargeAsTheData(Sound):
    """Has a row for each label that it was trained on."""

    def build(self, context: Any) -> Any:
        import torch
        from torch import nn

        parts = super().build(context)
        rows = 1 if context.labels is None else len(context.labels)
        parts["seen"] = nn.ParameterDict({"rows": nn.Parameter(torch.zeros(rows), requires_grad=False)})
        return parts


class CannotBeLoaded(Sound):
    """Divides by the width of the scale, which is not known when it is loaded."""

    def build(self, context: Any) -> Any:
        low, high = context.label_range
        self.width = 1.0 / (high - low)
        return super().build(context)


class TakesStarsForClicks(SoundClick):
    """Takes any label as it comes."""

    def observed(self, label: Any, label_range: tuple[float, float]) -> Any:
        return label


class RefusesStars(Sound):
    """Refuses the labels of its own task."""

    def observed(self, label: Any, label_range: tuple[float, float]) -> Any:
        raise InputError("no")


class NoNegatives(SoundRanking):
    """Does not say whom it ranks against."""

    def negatives(self) -> Any:
        return None


class ReportsTensor(Sound):
    """Reports what JSON does not hold."""

    def report(self) -> dict[str, Any]:
        return {"mean": self.parts["scale"]["mean"]}


class RewardsDisagreement(Sound):
    """Minimises what should be maximised."""

    def forward(self, batch: Any, user: Joined, item: Joined) -> HeadOutput:
        said = super().forward(batch, user, item)
        return HeadOutput(None if said.loss is None else 1.0 / (1.0 + said.loss), said.scores)


class ScoresUpsideDown(SoundRanking):
    """Puts the best item last."""

    def forward(self, batch: Any, user: Joined, item: Joined) -> HeadOutput:
        said = super().forward(batch, user, item)
        return HeadOutput(said.loss, -said.scores)


class LearnsNothing(Sound):
    """Has a loss that hardly moves."""

    def forward(self, batch: Any, user: Joined, item: Joined) -> HeadOutput:
        said = super().forward(batch, user, item)
        return HeadOutput(None if said.loss is None else 100.0 + 1e-6 * said.loss, said.scores)


class NotSeeded(Sound):
    """Draws from a generator of its own."""

    def build(self, context: Any) -> Any:
        import torch

        generator = torch.Generator()
        generator.seed()
        parts = super().build(context)
        with torch.no_grad():
            parts["scale"]["mean"].add_(0.01 * torch.randn(1, generator=generator))
        return parts


class _Calibrated(SoundClick):
    """Calibrates in its own way."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.fitted = False

    def calibrate(self, scores: Any, observed: Any) -> None:
        self.fitted = True


class CalibratesUpsideDown(_Calibrated):
    """Turns the order round."""

    def forward(self, batch: Any, user: Joined, item: Joined) -> HeadOutput:
        said = super().forward(batch, user, item)
        return replace(said, scores=1.0 - said.scores) if self.fitted else said


class CalibratesToSteps(_Calibrated):
    """Makes scores equal that were not."""

    def forward(self, batch: Any, user: Joined, item: Joined) -> HeadOutput:
        said = super().forward(batch, user, item)
        return replace(said, scores=(said.scores * 4).round() / 4) if self.fitted else said


class CalibratesToNonsense(_Calibrated):
    """Keeps the order and says a thousandth."""

    def forward(self, batch: Any, user: Joined, item: Joined) -> HeadOutput:
        said = super().forward(batch, user, item)
        return replace(said, scores=said.scores * 1e-3) if self.fitted else said


class RefusesEverything(Sound):
    """Cannot be built with any options."""

    def build(self, context: Any) -> Any:
        raise InputError("head: not today")


class BuildRaises(Sound):
    """Fails when it is built."""

    def build(self, context: Any) -> Any:
        raise RuntimeError("no")


class Writes(Sound):
    """Writes sentences, which is measured elsewhere."""

    task = "writing"
