"""Where the stages meet: each job is the flow, in full."""
