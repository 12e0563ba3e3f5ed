"""The only code that dials out: everything on the other side is assumed to be hostile."""
