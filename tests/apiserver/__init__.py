"""What the API server makes of our kinds: a real one, without controllers and nodes."""
