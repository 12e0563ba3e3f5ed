"""Crashes, stalls and outages on real processes, and the books that must balance afterwards."""
