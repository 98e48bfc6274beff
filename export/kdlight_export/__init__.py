"""The forge: a student becomes files that engines run, each proved equal to it."""
