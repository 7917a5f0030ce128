"""`irp serve`: a detector behind HTTP. It reads saved models with the installed code, never by MLflow's loader."""
