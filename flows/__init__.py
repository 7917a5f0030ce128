"""Tasks composed into pipelines, and the command line. May import `tasks` and `irp_core`."""
