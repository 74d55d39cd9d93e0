"""Methods: one small file each, one protocol (see `base`)."""
