"""How far executions are apart: certificates, finished runs, and experiments before they run."""
