"""Publishing runs: what is pushed to the Hugging Face Hub, its card and its signature."""
