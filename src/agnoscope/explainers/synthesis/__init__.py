"""Methods that make images, one file per method; `base.py` first. Their parts are in `agnoscope.optimisation`."""
