"""kdlight-edge: a tiny classifier distilled from a MobileNet teacher, at work on a small board."""

__version__ = "0.1.0"
