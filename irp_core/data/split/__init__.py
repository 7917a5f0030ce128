"""Which images are held out for testing, so that it does not change from night to night."""
