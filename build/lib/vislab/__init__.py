"""vislab: a hundred vision papers as executable tutorials, with the models, training loops and evaluation behind them."""

__version__ = "0.1.0"
