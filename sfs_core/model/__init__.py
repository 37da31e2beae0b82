"""Models: packages, their graphs, the rules a graph must keep, and making packages."""
