"""Model card: the run folder's README.md, readable on the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llmrec_peft.recipe import Recipe

_CARD = """\
---
library_name: peft
base_model: {{ base }}
tags:
- recommender-system
- llmrec-peft
- {{ recipe.adapter.method }}
---

# {{ recipe.name }}

{{ recipe.description }}

A frozen language model ({{ base }}, revision {{ m.base.revision or "local" }}, weights
`{{ m.base.weights_sha256[:16] }}`, quantization {{ m.base.quantization }}, {{ m.base.compute }}) with a
{{ recipe.adapter.method }} adapter, joined with the signals {{ signals }}
under a {{ recipe.head.name }} head, trained by
llmrec-peft {{ m.versions["llmrec-peft"] }}.

| parameters | number |
| --- | ---: |
| frozen and trained | {{ "{:,}".format(m.parameters.total) }} |
| trained | {{ "{:,}".format(m.parameters.trainable) }} |
| adapter | {{ "{:,}".format(m.parameters.adapter) }} |

## Data

{{ m.data.name }}: {{ m.data.users }} users, {{ m["data"]["items"] }} items, {{ m.data.train }} training,
{{ m.data.valid }} validation and {{ m.data.test }} test examples, {{ recipe.data.split }} split.
{{ m.data.licence }}

## Figures on the test part

| model |{% for name in names %} {{ name.upper() }} |{% endfor %}

| --- |{% for name in names %} ---: |{% endfor %}

{% for label, row in rows %}
| {{ label }} |{% for name in names %} {{ "%.4f"|format(row[name]) if name in row else "–" }} |{% endfor %}

{% endfor %}

{% if m.best_baseline %}Rows marked ▼ are no better than the trivial line, {{ m.best_baseline.replace("_", " ") }}.
{% endif %}Seed {{ m.seed }}; {{ m.training.epochs }} epochs, chosen on validation;
trained in {{ "%.0f"|format(m.seconds.train) }} s
on {{ m.hardware.cuda or m.hardware.processor }}.

## Use

```python
from llmrec_peft import Recommender

recommender = Recommender.from_pretrained("RUN")
recommender.recommend(["1"], k=10)
```
"""


def model_card(recipe: Recipe, metrics: Mapping[str, Any]) -> str:
    """Render the card from the resolved recipe and the run's metrics."""
    test = metrics["test"]
    named = [
        *((name, name.replace("_", " "), row) for name, row in test["baselines"].items()),
        ("before", "before: frozen text and biases", test["before"]),
        ("after", "after: tuned", test["after"]),
        *([("blend", "after, with the line blended in", test["blend"])] if "blend" in test else []),
        *((name, name.replace("_", " "), row) for name, row in test.get("ablations", {}).items()),
    ]
    losing = metrics.get("no_better_than_best_baseline", ())
    rows = [(f"{label} ▼" if name in losing else label, row) for name, label, row in named]
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    return environment.from_string(_CARD).render(
        recipe=recipe,
        m=metrics,
        base=metrics["base"]["name"],
        signals=", ".join(recipe.signals.active),
        names=list(test["after"]),
        rows=rows,
    )
