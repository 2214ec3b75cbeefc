"""Through PEFT: what all adapter methods implemented by `peft` share; no method is named here."""
