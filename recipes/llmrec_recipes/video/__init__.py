"""Short videos of MicroLens: who watched what when, and titles in English or Chinese."""
