"""What gradient steps move, one file per parameterisation; `base.py` has the contract."""
