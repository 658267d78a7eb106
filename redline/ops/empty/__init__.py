"""empty(shape) -> float32 array of that shape, its values not set: parts of a result go there."""
