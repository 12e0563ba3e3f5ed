"""Power cuts: what real code wrote and synced, and every disk that a cut could have left of it."""
