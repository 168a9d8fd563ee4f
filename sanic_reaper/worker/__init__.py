"""What runs in each process that main starts."""
