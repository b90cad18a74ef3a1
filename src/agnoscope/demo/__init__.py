"""The bundled networks and scenes."""
