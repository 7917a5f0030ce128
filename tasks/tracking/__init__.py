"""Everything MLflow: writing runs, and reading them on any machine."""
