"""Class activation maps: a layer's maps, weighted and summed; `base` first, one file each."""
