"""Results on disk: rows, arrays and run folders that cannot be half written."""
