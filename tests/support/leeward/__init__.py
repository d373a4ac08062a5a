"""Real clusters of leewardd processes on loopback, for tests, benchmarks and
the demo. Standard library only."""
