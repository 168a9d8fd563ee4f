"""What the tests stand on: boxes that nothing escapes from, servers in them, and a census."""
