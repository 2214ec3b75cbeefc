"""MiniOneRec's chronological splits of Amazon's purchases: the next purchase among a whole category."""
