"""Where deliveries live: one protocol of verbs, two engines, one conformance suite."""
