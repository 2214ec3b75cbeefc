"""Model card: the run folder's README.md, readable on the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llmrec_peft.artifact.figures import NO_ADAPTER, figure_rows, legend
from llmrec_peft.printable import for_markdown
from llmrec_peft.recipe import Recipe
from llmrec_peft.recipe.yaml_file import dump_yaml

_CARD = """\
# {{ recipe.name }}

{{ recipe.description }}

A frozen language model ({{ base }}, revision {{ m.base.revision or "local" }}, weights
`{{ m.base.weights_sha256[:16] }}`, quantization {{ m.base.quantization }}, {{ m.base.compute }}) with a
{{ recipe.adapter.method }} adapter, joined with the signals {{ signals }}
under a {{ recipe.head.name }} head, trained by
llmrec-peft {{ m.versions["llmrec-peft"] }}.{% if not m.parameters.adapter %} No adapter was trained
({{ no_adapter }}).{% endif %}


| parameters | number |
| --- | ---: |
| frozen and trained | {{ "{:,}".format(m.parameters.total) }} |
| trained | {{ "{:,}".format(m.parameters.trainable) }} |
| adapter | {{ "{:,}".format(m.parameters.adapter) }} |

## Data

{{ m.data.name }}: {{ m.data.users }} users, {{ m["data"]["items"] }} items, {{ m.data.train }} training,
{{ m.data.valid }} validation and {{ m.data.test }} test examples, {{ recipe.data.split }} split.
{{ m.data.licence }}

{% if names %}
## Figures on the test part

| model |{% for name in names %} {{ name.upper() }} |{% endfor %}

| --- |{% for name in names %} ---: |{% endfor %}

{% for row in rows %}
| {{ row.label }} |
{%- for name in names %} {{ "%.4f"|format(row.test[name]) if name in row.test else "–" }} |{% endfor %}

{% endfor %}

{% for line in legend %}
- {{ line }}
{% endfor %}
{% endif %}

Seed {{ m.seed }}; {{ m.training.epochs }} epochs
{%- if m.merge is defined %}. The adapter was merged from those of {{ m.merge.runs | length }} runs
({{ m.merge.how }}, weights {{ m.merge.weights | join(", ") }}) without training; all else is from run
`{{ m.merge.runs[0][:16] }}`
{%- elif m.before is defined %} on newer data, from run `{{ m["update"]["parent"][:16] }}`; test is the newest window
{%- else %}, chosen on validation{% endif %};
{% if m.merge is defined %}merged{% else %}trained in {{ "%.0f"|format(m.seconds.train) }} s{% endif %}

on {{ m.hardware.cuda or m.hardware.processor }}.

## Use

```python
from llmrec_peft import Recommender

recommender = Recommender.from_pretrained("RUN")
recommender.recommend(["1"], k=10)
```
"""


def model_card(recipe: Recipe, metrics: Mapping[str, Any]) -> str:
    """Render the model card from the resolved recipe and the run's ``metrics.json``."""
    base = str(metrics["base"]["name"])
    tags = ["recommender-system", "llmrec-peft", recipe.adapter.method]
    front = dump_yaml({"library_name": "peft", "base_model": base, "tags": tags})
    # titles, paths and licences come from others
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True, finalize=for_markdown
    )
    return f"---\n{front}---\n\n" + environment.from_string(_CARD).render(
        recipe=recipe,
        m=metrics,
        base=base,
        signals=", ".join(recipe.signals.active),
        names=list(metrics["test"]["after"]),  # none of a merged run whose data were not there
        rows=figure_rows(metrics),
        legend=legend(metrics),
        no_adapter=NO_ADAPTER,
    )
