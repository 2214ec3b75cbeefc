"""The frozen language model: located, verified, loaded, quantized, pooled."""
