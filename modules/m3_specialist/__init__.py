"""Module 3: one LightGBM per regime -> BUY, SELL or NEUTRAL."""
