"""Running a model: plans of executions, this party's part of a request, and whole predictions over all parties."""
