"""The commands of a person with images: one file each."""
