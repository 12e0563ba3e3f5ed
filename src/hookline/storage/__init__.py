"""Where deliveries live: verbs that promise the same on two engines, and are tested by the same cases on both."""
