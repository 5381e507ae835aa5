"""The AgentTask operator."""
