"""Module 4A: on-chain transfers -> whale alert."""
