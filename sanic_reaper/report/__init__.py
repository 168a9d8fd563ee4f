"""What became of a server, from its files: `account` finds it out, the others show it."""
