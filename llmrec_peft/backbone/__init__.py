"""The frozen language model: found, verified, loaded, quantized, pooled."""
