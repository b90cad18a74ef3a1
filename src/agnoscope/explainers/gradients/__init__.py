"""Methods made of gradients with respect to the image or to a layer; one file each."""
