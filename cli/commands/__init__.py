"""The commands, a file a command, imported when they are called."""
