"""The tests mirror `src/agnoscope`."""
