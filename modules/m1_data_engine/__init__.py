"""Module 1: candles and depth -> normalised features."""
