"""A run's folder: the names of its files, its steps, and everything that is read from it or written to it.

Nothing here computes a result, and nothing here knows Prefect, MLflow or DVC; no other room knows a file's name.
"""
