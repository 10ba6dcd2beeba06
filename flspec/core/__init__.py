"""What every other room stands on: components, random streams, memory, files and where they are."""
