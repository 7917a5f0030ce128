"""The careful decision: where images stand, what is isolated, what answers say, and how the run ends in words."""
