"""Pictures of probes: what each layer does, along depth."""
