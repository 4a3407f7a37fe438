"""Measurements that a decision or a figure in the README stands on. Each is run by hand and prints what it found."""
