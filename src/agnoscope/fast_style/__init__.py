"""Style transfer in one pass: a network of our own is trained against a wrapped one, which it then no longer needs.

`network.py` is the network, `loss.py` what it is trained to lower, `training.py` how, `photos.py` on what, and
`style_network.py` what comes out: a file that turns photos of any size into pictures in any framework, or in none.
"""
