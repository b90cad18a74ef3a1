"""What one network holds: what its units see of the image, its feature maps and its filters."""
