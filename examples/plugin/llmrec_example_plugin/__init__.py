"""An adapter method, a task head and a signal that llmrec-peft finds by their entry points."""
