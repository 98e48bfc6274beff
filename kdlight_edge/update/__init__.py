"""Updates of a device's bundle that a cut of power, a bad file or a bad network cannot turn into a dead device."""
