"""Real servers on the loopback interface, started for one test session and stopped with it."""
