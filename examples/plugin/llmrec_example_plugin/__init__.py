"""An adapter method and a task head that llmrec-peft finds by their entry points."""
