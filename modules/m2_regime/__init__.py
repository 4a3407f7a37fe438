"""Module 2: features -> regime, next-regime probabilities, early warnings."""
