"""What the machine and its users require: errors, files, memory, terminal. Knows no other room."""
