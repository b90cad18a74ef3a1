"""What a scan shows: the patches that excite a unit most, the neighbours of an image, the channels of a class."""
