"""Tuners: methods of ours that PEFT does not have, as PEFT tuners."""
