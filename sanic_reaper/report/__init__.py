"""What became of a server, from its files: `report` finds it out, the others show it."""
