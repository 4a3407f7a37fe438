"""The rooms of the pipeline. Arrows run one way: numbered rooms import ``core`` only."""
