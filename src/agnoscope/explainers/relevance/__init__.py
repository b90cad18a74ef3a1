"""Methods that hand the score back from layer to layer by a rule of conservation."""
