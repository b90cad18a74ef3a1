"""Renderers: draw explanations, never compute one."""
