"""Writing: a decoder that writes explanations; its facts, its training, and sentences held against the facts."""
