"""Images that show the same as another one: which of a set are near-copies, and the small pictures that tell."""
