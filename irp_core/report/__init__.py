"""A run's report: one page that works offline. It reads the run's folder and the images, and knows no tracker."""
