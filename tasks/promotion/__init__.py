"""A line's versions in MLflow's registry: what is known of them, which is in service, and who decided it."""
