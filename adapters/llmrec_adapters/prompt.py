"""Prompt tuning: trained embeddings stand before every text, through PEFT."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from llmrec_adapters.through_peft.virtual_method import VirtualTokenMethod, VirtualTokenOptions
from llmrec_peft.plugins import Capabilities, Options

if TYPE_CHECKING:
    from peft import PeftConfig

    from llmrec_peft.plugins import Backbone, BatchedForm, ModelShapes


class PromptOptions(VirtualTokenOptions):
    """Options of prompt tuning."""


class Prompt(VirtualTokenMethod[PromptOptions]):
    """[p₁ … pₙ, x₁ … x_T] goes through the model; the n states of the prompt are cut off before pooling.

    The prompt takes n positions, so texts begin at position n: a fresh prompt is not the identity.

    Parameters: num_virtual_tokens · width.

    References:
        Lester et al., The Power of Scale for Parameter-Efficient Prompt Tuning, EMNLP 2021, section 2.
    """

    summary: ClassVar[str] = "trained embeddings before every text"
    paper: ClassVar[str] = "https://arxiv.org/abs/2104.08691"
    Config: ClassVar[type[Options]] = PromptOptions
    capabilities: ClassVar[Capabilities] = Capabilities(
        encoder=True,
        decoder=True,
        int8=True,
        nf4=True,
        mergeable=False,
        starts_as_identity=False,
    )
    peft_type: ClassVar[str] = "PROMPT_TUNING"
    in_sequence: ClassVar[bool] = True

    def peft_config(self, backbone: Backbone) -> PeftConfig:
        """Return PEFT's configuration: each token starts as the embedding of a random token of the vocabulary."""
        from peft import PromptTuningConfig

        return PromptTuningConfig(
            task_type="FEATURE_EXTRACTION",
            num_virtual_tokens=self.config.num_virtual_tokens,
            prompt_tuning_init="SAMPLE_VOCAB",
            num_layers=backbone.depth,
        )

    def parameter_count(self, shapes: ModelShapes) -> int:
        """Return num_virtual_tokens · width."""
        return self.config.num_virtual_tokens * shapes.width

    def batched(self, backbone: Backbone) -> BatchedForm:
        """Return the form whose embeddings stand before each row's text."""
        from llmrec_adapters.through_peft.virtual_form import EmbeddingsBefore

        return EmbeddingsBefore()
