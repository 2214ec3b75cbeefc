"""`llmrec`: one file a command, each a few lines over the library."""
