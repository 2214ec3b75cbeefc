"""Through PEFT: what every adapter method that `peft` implements shares; no method is known by name here."""
