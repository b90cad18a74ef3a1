"""Commands over a whole collection of images: a scan, and what it shows."""
