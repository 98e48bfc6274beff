"""What DICOM means to a classifier: pixel values as a reader sees them, identifiers hashed, the study as a whole."""
