"""What every command stands on: environment, Prefect server, retries, progress."""
