"""A laboratory for the science of deep-learning optimizers: claims become runs, measurements and verdicts."""

__version__ = "0.1.0"
