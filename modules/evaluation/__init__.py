"""Evaluation: what the trained pipeline says of a whole history, and how good that was."""
