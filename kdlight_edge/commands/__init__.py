"""The verbs of the front door that the runtime owns, one file a verb."""
