"""One pass over a collection of images: what every unit of chosen layers makes of each, kept in shards on disk."""
