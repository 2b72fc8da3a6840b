"""voip-stack: the control host's side of the platform."""
