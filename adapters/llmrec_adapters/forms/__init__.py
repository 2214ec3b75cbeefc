"""Forms: how rows of one pass are changed at a module, each by its own adapter; one file an arithmetic."""
