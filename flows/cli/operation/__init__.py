"""The commands of a detector that is in service: it answers, and is watched."""
