"""Explain what a network sees: the same explanation in PyTorch, JAX and TensorFlow."""
