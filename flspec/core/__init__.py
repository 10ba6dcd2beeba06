"""Foundations of every other room: components, random streams, memory measurement, files and their locations."""
