"""What is told of a run at a glance: nothing here imports pandas, or opens a table of images."""
