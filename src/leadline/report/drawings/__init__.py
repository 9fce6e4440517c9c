"""What documents draw of results: maps, curves, and tables and bars of modules."""
