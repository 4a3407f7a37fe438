"""The conductor: runs the numbered rooms in order, live, in replay and in training."""
