"""Many students over tasks, seeds and variants of the method, with one table as the result."""
