"""Explainers: one file per method, `base` first; each reads like its paper."""
