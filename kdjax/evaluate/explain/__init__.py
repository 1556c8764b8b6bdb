"""What a detector looks at: heat maps, what of them lies where an image is forged, and how two networks differ."""
