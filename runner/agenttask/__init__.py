"""Durable AI agents: the AgentTask runner. Importing this package imports nothing else."""
