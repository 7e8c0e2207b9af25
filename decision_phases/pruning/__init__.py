"""Which layers to remove: criteria, searches and curves."""
