"""The commands that make images, one file each: what they ask of a method. `making.py` does what they share."""
