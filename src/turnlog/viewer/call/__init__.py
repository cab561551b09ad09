"""The page of one call, and the document that it draws."""
