"""The process that outlives main, and ends what is left."""
