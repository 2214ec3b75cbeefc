"""Next purchase: IISAN's sequences of Amazon's Industrial and Scientific shop."""
