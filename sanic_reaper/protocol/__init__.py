"""What the processes of a server say to each other: the words, their fields, and a channel."""
