"""What really went over a wire: captured packets judged against what the platform promises."""
