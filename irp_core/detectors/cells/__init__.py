"""Detectors that read cells: what is in each place of an image. One file each; they also say where (`Localises`)."""
