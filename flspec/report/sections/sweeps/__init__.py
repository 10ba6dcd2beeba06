"""The sections of a sweep's page."""
