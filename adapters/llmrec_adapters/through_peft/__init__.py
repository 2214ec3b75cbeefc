"""Through PEFT: what only the methods of this package share; what all PEFT methods share is in the core."""
