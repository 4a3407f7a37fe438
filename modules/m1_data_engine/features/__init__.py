"""The features: candles (and optional tables) -> one column each, one file a family. Start at ``registry``."""
