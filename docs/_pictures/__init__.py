"""What `docs/pictures.py` draws: one function for each method, whose docstring is the caption on the method's page."""
