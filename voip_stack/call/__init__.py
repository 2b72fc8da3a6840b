"""Real calls through the platform, measured: what `voip call` runs and reports."""
