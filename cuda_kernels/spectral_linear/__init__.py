"""A linear layer stored as the low cosine or sine frequencies of its weight: FFT, small product, FFT."""
