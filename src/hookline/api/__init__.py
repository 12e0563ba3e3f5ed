"""The HTTP face: one module per resource; parse at the edge, decide elsewhere."""
