"""The algorithm: tables and tensors in, tables and tensors out.

Nothing here knows Prefect, MLflow, DVC or the network; `tasks` and `flows` do.
"""

__version__ = "0.1.0"
