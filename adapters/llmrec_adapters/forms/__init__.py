"""Forms: how rows of a mixed batch are computed where a method's own file is not the place for it."""
