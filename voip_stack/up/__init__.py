"""`./voip up`, step by step.

run        the steps in order          converge   Salt's part, with progress and results
machine    what this machine needs     summary    what is shown at the end
"""
