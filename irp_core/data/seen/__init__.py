"""What is remembered of files that were looked at before, so that an unchanged file is not read again."""
