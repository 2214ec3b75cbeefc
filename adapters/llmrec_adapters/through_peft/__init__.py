"""Through PEFT: what methods share that PEFT implements."""
