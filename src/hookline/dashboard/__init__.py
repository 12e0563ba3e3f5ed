"""The dashboard: pages for people, rendered here, complete without script."""
