"""The long kill tests run where LLMREC_SOAK is set, such as by `make soak`; the short ones are in tests/artifact."""

from __future__ import annotations

import os

collect_ignore_glob = [] if os.environ.get("LLMREC_SOAK") else ["*"]
