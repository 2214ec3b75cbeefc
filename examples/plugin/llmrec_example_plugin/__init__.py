"""An adapter method, a task head, a signal and a reader with its recipe, which llmrec-peft finds by entry points."""
