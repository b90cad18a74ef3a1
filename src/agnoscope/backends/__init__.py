"""Adapters: each makes the networks of one framework fulfil `agnoscope.model.Model`."""
