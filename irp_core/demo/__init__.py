"""The demo plant: a made inspection line with rare good images and six kinds of defects, drawn by seed."""
