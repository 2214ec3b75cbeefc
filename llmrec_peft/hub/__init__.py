"""Publishing a run on the Hugging Face Hub: a copy without private data, uploaded, loaded again and compared."""
